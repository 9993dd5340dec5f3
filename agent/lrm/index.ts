/** The shell of the HA part of an agent: the node's Lease, the work on guests, and the loop around the pure step. */
export { Lrm, type LrmOptions, type LrmSurroundings, type ServiceResult } from "./lrm.ts";
export { NodeLease, type NodeLeaseOptions } from "./node-lease.ts";
export { knownResults, type RunningHere, servicesHere } from "./services.ts";
export { type GuestOperations, WorkTable } from "./work.ts";
