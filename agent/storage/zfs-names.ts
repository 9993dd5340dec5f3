import { QuorateError } from "../../errors.ts";
import { type VolumeId, volumeName } from "./names.ts";

/** Below the storage's dataset: where whole volumes arrive. Never mounted, never a guest's. */
export const STAGING = ".quorate-recv";

/** A dataset and its snapshot together may have this many characters. */
const LIMIT = 255;
const LONGEST_SNAPSHOT = "@quorate-999999999-9999-20260101T000000Z".length;

export function datasetOf(parent: string, id: VolumeId): string {
  const dataset = `${parent}/${volumeName(id)}`;
  if (stagedUnchecked(parent, id).length + LONGEST_SNAPSHOT > LIMIT) {
    throw new QuorateError(
      "user",
      "InvalidName",
      `${dataset} leaves no room for names of snapshots; shorten the volume's name or the storage's dataset`,
    );
  }
  return dataset;
}

/** Where the volume arrives before it takes its final name. */
export function stagedOf(parent: string, id: VolumeId): string {
  datasetOf(parent, id);
  return stagedUnchecked(parent, id);
}

/** What a copy is called that was set aside: no volume's name, so nothing of ours touches it again. */
export function keptOf(parent: string, id: VolumeId, wallMs: number): string {
  const time = new Date(wallMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  return `${parent}/kept-${volumeName(id)}-${time}Z`;
}

/** Whether the dataset is a copy of this volume that was set aside. */
export function isKept(parent: string, id: VolumeId, dataset: string): boolean {
  const prefix = `${parent}/kept-${volumeName(id)}-`;
  return dataset.startsWith(prefix) && /^[0-9]{8}T[0-9]{6}Z$/.test(dataset.slice(prefix.length));
}

function stagedUnchecked(parent: string, id: VolumeId): string {
  return `${parent}/${STAGING}/${volumeName(id)}`;
}
