import type { QuorateError } from "../../../errors.ts";
import type { Snapshot, StorageDriver, VolumeRef, VolumeState } from "../../storage/index.ts";
import type { SendOptions, TransferClient } from "../../transfer/index.ts";

export const root: VolumeRef = { vmid: 100, volume: "root", storage: "tank" };

/** A volume on a node and its copies on others, as far as their snapshots go. What is done to them is in `calls`. */
export class FakeCopies {
  readonly calls: string[] = [];
  #made = 0;
  readonly here: Snapshot[] = [];
  readonly there = new Map<string, Snapshot[]>();
  /** The answer to every wish to destroy a copy. */
  refuses: QuorateError | undefined;
  /** The uid of the Guest object that the last stream said it was of. */
  sentAs: string | undefined;
  send: ((signal: AbortSignal | undefined) => Promise<number>) | undefined;
  /** Before a piece is sent. */
  beforePiece: (() => Promise<void>) | undefined;
  /** When the source's file system says that a snapshot was made, in seconds since the epoch. */
  madeAt = Date.UTC(2026, 10, 21, 0, 0, 30) / 1000;

  driver(): StorageDriver {
    const state = (): VolumeState => ({ id: root, exists: true, snapshots: [...this.here] });
    const replication = {
      atomicSnapshots: async () => true,
      snapshot: async (_: unknown, name: string) => {
        const n = ++this.#made;
        this.here.push({ name, guid: String(n), createTxg: n, createdAt: this.madeAt, holds: 0 });
      },
      hold: async () => undefined,
      release: async () => undefined,
      mark: async (_: unknown, marks: readonly { node: string; guid?: string }[]) =>
        void this.calls.push(`mark ${marks.map(({ node, guid }) => `${node}=${guid ?? "none"}`)}`),
      sendCommand: () => ({ command: "true", args: [] }),
      destroySnapshots: async (_: unknown, by: string, refs: readonly { guid: string }[]) => {
        this.calls.push(`n1: ${by} destroys ${refs.length} snapshots`);
        const gone = refs.map(({ guid }) => guid);
        this.here.splice(0, this.here.length, ...this.here.filter(({ guid }) => !gone.includes(guid)));
        return { kept: [] };
      },
      failure: (error: QuorateError) => error,
    };
    return {
      name: "tank",
      type: "ZFS",
      shared: false,
      inspect: async () => [state()],
      replication,
    } as unknown as StorageDriver;
  }

  client(node: string): TransferClient {
    return {
      listSnapshots: async () => [
        { id: root, exists: this.there.has(node), snapshots: this.there.get(node) ?? [], replicaOf: "100-0" },
      ],
      send: async ({
        toGuid,
        signal,
        onBytes,
        guest,
      }: Pick<SendOptions, "toGuid" | "signal" | "onBytes" | "guest">) => {
        this.sentAs = guest;
        if (this.send !== undefined) return this.send(signal);
        await this.beforePiece?.();
        onBytes?.(1000);
        const sent = this.here.filter(({ guid }) => guid === toGuid);
        this.there.set(node, [...(this.there.get(node) ?? []), ...sent]);
        return 1000;
      },
      destroySnapshots: async (by: string, _: unknown, refs: readonly { guid: string }[]) => {
        this.calls.push(`${node}: ${by} destroys ${refs.length} snapshots`);
        const gone = refs.map(({ guid }) => guid);
        this.there.set(
          node,
          (this.there.get(node) ?? []).filter(({ guid }) => !gone.includes(guid)),
        );
        return { kept: [] };
      },
      destroyReplica: async (by: string) => {
        if (this.refuses !== undefined) throw this.refuses;
        this.calls.push(`${node}: ${by} destroys the copy`);
        this.there.delete(node);
      },
    } as unknown as TransferClient;
  }
}
