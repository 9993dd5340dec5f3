import { systemClock } from "../../../clock.ts";
import { processLog } from "../../../log.ts";
import { openStorage, type StorageDriver, type VolumeId, type VolumeRef } from "../../storage/index.ts";
import { startZfsFuseHost, type ZfsFuseHost } from "../../storage/testing/index.ts";
import {
  startTransferServer,
  type TlsIdentity,
  TransferClient,
  type TransferServer,
  type Verdict,
} from "../../transfer/index.ts";
import { testAuthority } from "../../transfer/testing/index.ts";
import type { ReplicationParts } from "../index.ts";

const TIMEOUT_MS = 60_000;

/** A node with real ZFS that serves its volumes. */
export interface TestNode {
  readonly name: string;
  readonly zfs: ZfsFuseHost;
  readonly storage: StorageDriver;
  readonly identity: TlsIdentity;
  readonly server: TransferServer;
  /** What it answers to peers; may be replaced. */
  verdict: () => Verdict;
}

/** Two nodes, n1 and n2, that talk over real TLS on loopback. */
export class TwoNodes implements AsyncDisposable {
  readonly n1: TestNode;
  readonly n2: TestNode;

  private constructor(n1: TestNode, n2: TestNode) {
    this.n1 = n1;
    this.n2 = n2;
  }

  static async start(pools: { n1?: number; n2?: number } = {}): Promise<TwoNodes> {
    const authority = await testAuthority();
    const node = async (name: string, poolBytes: number | undefined): Promise<TestNode> => {
      const zfs = await startZfsFuseHost({ poolBytes: poolBytes ?? 1024 * 1024 * 1024 });
      const storage = openStorage(zfs.host, { name: "tank", type: "ZFS", dataset: zfs.dataset });
      const identity = await authority.identity(name);
      const answers = { verdict: (): Verdict => ({ allowed: true }) };
      const server = await startTransferServer({
        host: zfs.host,
        storage: (wanted) => (wanted === "tank" ? storage : undefined),
        identity,
        listen: { address: "127.0.0.1", port: 0 },
        isMember: () => true,
        mayReceive: async () => answers.verdict(),
        log: Object.assign(processLog("test"), { level: "silent" }),
      });
      return Object.assign(answers, { name, zfs, storage, identity, server });
    };
    return new TwoNodes(await node("n1", pools.n1), await node("n2", pools.n2));
  }

  client(from: TestNode, to: TestNode): TransferClient {
    return new TransferClient({ node: to.name, address: "127.0.0.1", port: to.server.port, identity: from.identity });
  }

  /** What a run from one node to the other needs; nothing is recorded. */
  parts(from: TestNode, to: TestNode): ReplicationParts {
    return {
      host: from.zfs.host,
      storage: (name) => (name === "tank" ? from.storage : undefined),
      target: this.client(from, to),
      quiesce: async () => async () => {},
      record: async () => {},
      clock: systemClock,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { server, zfs } of [this.n1, this.n2]) {
      await server.close();
      await zfs[Symbol.asyncDispose]();
    }
  }
}

export function volumeRef(volume: string, vmid = 100): VolumeRef {
  return { storage: "tank", vmid, volume };
}

export function diskOf(id: VolumeId): string {
  return `/run/pool/guests/vm-${id.vmid}-${id.volume}/disk.raw`;
}

export async function shell(node: TestNode, line: string): Promise<string> {
  return (await node.zfs.host.run("sh", ["-c", line], { timeoutMs: TIMEOUT_MS })).stdout.trim();
}

/** Writes so many random MiB somewhere into the disk. */
export async function scribble(
  node: TestNode,
  id: VolumeId,
  { mib, at = 0 }: { mib: number; at?: number },
): Promise<void> {
  await shell(
    node,
    `dd if=/dev/urandom of=${diskOf(id)} bs=1M count=${mib} seek=${at} conv=notrunc status=none && sync -f ${diskOf(id)}`,
  );
}

/** The checksum of the disk's content; a replica is mounted for it, read-only, and unmounted again. */
export async function checksum(node: TestNode, id: VolumeId): Promise<string> {
  const dataset = `${node.zfs.dataset}/vm-${id.vmid}-${id.volume}`;
  const mounted = (await node.zfs.zfs("get", "-H", "-o", "value", "mounted", dataset)).trim() === "yes";
  if (!mounted) await node.zfs.zfs("mount", dataset);
  try {
    return (await shell(node, `sha256sum ${diskOf(id)}`)).split(" ")[0] ?? "";
  } finally {
    if (!mounted) await node.zfs.zfs("unmount", dataset);
  }
}

/** The names of a volume's snapshots, in order, without the time. */
export async function snapshots(node: TestNode, id: VolumeId): Promise<string[]> {
  const [state] = await node.storage.inspect([id]);
  return state?.snapshots.map(({ name }) => name) ?? [];
}
