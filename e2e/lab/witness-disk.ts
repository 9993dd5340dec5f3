import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { QuorateError } from "../../errors.ts";

/** What the tiny guests wrote on a disk they share; the layout is that of witness/lock.go. */
export interface WitnessDisk {
  /** How many boots have used the disk, 0 when none has. */
  boots: number;
  /** The boot id that wrote last, and how often. */
  boot?: string;
  count?: number;
  /** The mark left when two guests were seen at once: the proof that a guest ran twice. */
  twice?: string;
}

const SECTOR_BYTES = 512;
const MARK_SECTOR = 8;

/** Reads the witness disk of a guest from a file of this machine. @throws QuorateError `user` when there is none. */
export function readWitnessDisk(file: string): WitnessDisk {
  const content = Buffer.alloc((MARK_SECTOR + 1) * SECTOR_BYTES);
  if (!existsSync(file)) throw new QuorateError("user", "NoSuchFile", `there is no file ${file}`);
  const opened = openSync(file, "r");
  try {
    readSync(opened, content, 0, content.length, 0);
  } finally {
    closeSync(opened);
  }
  return parseWitnessDisk(content);
}

/** @param content the disk from its beginning, at least 9 sectors */
export function parseWitnessDisk(content: Buffer): WitnessDisk {
  const claim = /^QUORATE-WITNESS boots=(\d+) boot=(\S+) count=(\d+)$/.exec(sectorText(content, 0));
  const mark = sectorText(content, MARK_SECTOR);
  return {
    boots: Number(claim?.[1] ?? 0),
    ...(claim?.[2] !== undefined && { boot: claim[2], count: Number(claim[3]) }),
    ...(mark.startsWith("TWICE") && { twice: mark }),
  };
}

function sectorText(content: Buffer, sector: number): string {
  const text = content.toString("latin1", sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
  return text.replace(/\0+$/, "").trimEnd();
}
