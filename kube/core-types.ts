import type { KubeObject, ResourceType } from "./resource.ts";

/**
 * The few kinds of Kubernetes itself that are used here, as they travel in JSON (times are strings) and with only the
 * fields that are read or written.
 */
export interface Lease extends KubeObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    /** MicroTime: six digits after the second. */
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

export interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
  binaryData?: Record<string, string>;
  immutable?: boolean;
}

export interface Secret extends KubeObject {
  type?: string;
  /** Base64. */
  data?: Record<string, string>;
  /** Write only. */
  stringData?: Record<string, string>;
  immutable?: boolean;
}

export interface Namespace extends KubeObject {
  status?: { phase?: string };
}

export interface ObjectReference {
  apiVersion?: string;
  kind?: string;
  namespace?: string;
  name?: string;
  uid?: string;
  resourceVersion?: string;
  fieldPath?: string;
}

export interface Event extends KubeObject {
  eventTime: string;
  reportingController: string;
  reportingInstance: string;
  action: string;
  reason: string;
  regarding: ObjectReference;
  related?: ObjectReference;
  note?: string;
  type: "Normal" | "Warning";
  series?: { count: number; lastObservedTime: string };
}

export interface KubeCondition {
  type: string;
  status: "True" | "False" | "Unknown";
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

export interface Pod extends KubeObject {
  spec?: {
    nodeName?: string;
    serviceAccountName?: string;
    hostNetwork?: boolean;
    nodeSelector?: Record<string, string>;
  };
  status?: {
    phase?: string;
    podIP?: string;
    hostIP?: string;
    conditions?: KubeCondition[];
    containerStatuses?: { name: string; ready: boolean; restartCount: number; image: string }[];
  };
}

export interface Node extends KubeObject {
  spec?: { unschedulable?: boolean; taints?: { key: string; value?: string; effect: string }[]; providerID?: string };
  status?: {
    conditions?: KubeCondition[];
    addresses?: { type: string; address: string }[];
    nodeInfo?: { bootID?: string; kernelVersion?: string; osImage?: string; kubeletVersion?: string };
  };
}

export interface CertificateSigningRequest extends KubeObject {
  spec: {
    /** Base64 of the PEM. */
    request: string;
    signerName: string;
    usages?: string[];
    expirationSeconds?: number;
    username?: string;
    groups?: string[];
  };
  status?: { certificate?: string; conditions?: KubeCondition[] };
}

export const LEASES: ResourceType<Lease> = {
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  plural: "leases",
  namespaced: true,
};
export const CONFIG_MAPS: ResourceType<ConfigMap> = {
  apiVersion: "v1",
  kind: "ConfigMap",
  plural: "configmaps",
  namespaced: true,
};
export const SECRETS: ResourceType<Secret> = { apiVersion: "v1", kind: "Secret", plural: "secrets", namespaced: true };
export const NAMESPACES: ResourceType<Namespace> = {
  apiVersion: "v1",
  kind: "Namespace",
  plural: "namespaces",
  namespaced: false,
};
export const EVENTS: ResourceType<Event> = {
  apiVersion: "events.k8s.io/v1",
  kind: "Event",
  plural: "events",
  namespaced: true,
};
export const PODS: ResourceType<Pod> = { apiVersion: "v1", kind: "Pod", plural: "pods", namespaced: true };
export const NODES: ResourceType<Node> = { apiVersion: "v1", kind: "Node", plural: "nodes", namespaced: false };
export const CERTIFICATE_SIGNING_REQUESTS: ResourceType<CertificateSigningRequest> = {
  apiVersion: "certificates.k8s.io/v1",
  kind: "CertificateSigningRequest",
  plural: "certificatesigningrequests",
  namespaced: false,
};
