import { readFileSync } from "node:fs";
import { podHost } from "../../host/index.ts";
import { openStorage } from "../../storage/index.ts";
import { type TlsIdentity, TransferClient } from "../../transfer/index.ts";
import { type ReplicationRequest, replicate } from "../index.ts";

/** One run in a process of its own, which a test can kill. What to do comes as JSON on standard input. */
interface Order {
  readonly holder: number;
  readonly identity: TlsIdentity;
  readonly port: number;
  readonly request: ReplicationRequest;
}

const order = JSON.parse(readFileSync(0, "utf8")) as Order;
const host = podHost(order.holder);
const storage = openStorage(host, { name: "tank", type: "ZFS", dataset: "tank/guests" });
await replicate(order.request, {
  host,
  storage: () => storage,
  target: new TransferClient({ node: "n2", address: "127.0.0.1", port: order.port, identity: order.identity }),
  quiesce: async () => async () => {},
  record: async () => {},
});
