export { Admission, type AdmissionOptions, type Known, type Verdict } from "./admission.ts";
export { type SendOptions, TransferClient, type TransferTarget } from "./client.ts";
export type { TlsIdentity } from "./identity.ts";
export { DEFAULT_PORT, type SnapshotRef } from "./protocol.ts";
export { startTransferServer, type TransferServer, type TransferServerOptions } from "./server.ts";
