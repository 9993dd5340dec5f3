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

/** Nodes that talk over real TLS on loopback: n1 and n2, and n3 where it is asked for. */
export class TestNodes implements AsyncDisposable {
  readonly all: readonly TestNode[];

  private constructor(all: readonly TestNode[]) {
    this.all = all;
  }

  static async start(pools: Record<string, number>): Promise<TestNodes> {
    const authority = await testAuthority();
    const all: TestNode[] = [];
    for (const [name, poolBytes] of Object.entries(pools)) {
      const zfs = await startZfsFuseHost({ poolBytes });
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
      all.push(Object.assign(answers, { name, zfs, storage, identity, server }));
    }
    return new TestNodes(all);
  }

  node(name: string): TestNode {
    const found = this.all.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no test node ${name}`);
    return found;
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
    for (const { server, zfs } of this.all) {
      await server.close();
      await zfs[Symbol.asyncDispose]();
    }
  }
}

const POOL_BYTES = 1024 * 1024 * 1024;

/** Two of them. */
export class TwoNodes implements AsyncDisposable {
  readonly n1: TestNode;
  readonly n2: TestNode;
  readonly #nodes: TestNodes;

  private constructor(nodes: TestNodes) {
    this.#nodes = nodes;
    this.n1 = nodes.node("n1");
    this.n2 = nodes.node("n2");
  }

  static async start({ n1 = POOL_BYTES, n2 = POOL_BYTES }: { n1?: number; n2?: number } = {}): Promise<TwoNodes> {
    return new TwoNodes(await TestNodes.start({ n1, n2 }));
  }

  client(from: TestNode, to: TestNode): TransferClient {
    return this.#nodes.client(from, to);
  }

  parts(from: TestNode, to: TestNode): ReplicationParts {
    return this.#nodes.parts(from, to);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#nodes[Symbol.asyncDispose]();
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
