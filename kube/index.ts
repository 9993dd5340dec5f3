/**
 * What controllers and agents need of Kubernetes. The only way in; nothing else imports a Kubernetes client.
 */
export {
  ApiError,
  ConflictError,
  ForbiddenError,
  GoneError,
  InvalidError,
  NotFoundError,
  UnreachableError,
} from "./api-errors.ts";
export { type BackoffLimits, backoffMs, jittered } from "./backoff.ts";
export {
  type ApplyOptions,
  type CallOptions,
  type ClientOptions,
  type DeleteOptions,
  type KubeApi,
  KubeClient,
  type ListOptions,
} from "./client.ts";
export {
  CERTIFICATE_SIGNING_REQUESTS,
  type CertificateSigningRequest,
  CONFIG_MAPS,
  type ConfigMap,
  EVENTS,
  type Event,
  type KubeCondition,
  LEASES,
  type Lease,
  NAMESPACES,
  type Namespace,
  NODES,
  type Node,
  type ObjectReference,
  PODS,
  type Pod,
  SECRETS,
  type Secret,
} from "./core-types.ts";
export { LeaderElection, type LeaderElectionOptions } from "./election.ts";
export { EventRecorder, type EventRecorderOptions, type Happening } from "./events.ts";
export {
  createLease,
  HeldLease,
  type HeldLeaseOptions,
  type LeaseClaim,
  LeaseLostError,
  leaseEpoch,
  leaseHolder,
  releaseLease,
  renewLease,
  takeLease,
} from "./leases.ts";
export {
  counter,
  gauge,
  type HealthCheck,
  type HealthServer,
  type HealthServerOptions,
  histogram,
  registry,
  serveHealth,
} from "./metrics.ts";
export { microTime, rfc3339 } from "./micro-time.ts";
export { type ReconcileResult, WorkQueue, type WorkQueueOptions } from "./queue.ts";
export {
  type Applied,
  formatKey,
  type KubeObject,
  keyOf,
  type ObjectKey,
  type ObjectMeta,
  type OwnerReference,
  parseKey,
  type ResourceType,
  type Written,
} from "./resource.ts";
export { WatchCache, type WatchCacheOptions } from "./watch-cache.ts";
export type { WatchEvent } from "./watch-stream.ts";
