export { type SendOptions, TransferClient, type TransferTarget } from "./client.ts";
export type { TlsIdentity } from "./identity.ts";
export { DEFAULT_PORT, type SnapshotRef } from "./protocol.ts";
export { startTransferServer, type TransferServer, type TransferServerOptions, type Verdict } from "./server.ts";
