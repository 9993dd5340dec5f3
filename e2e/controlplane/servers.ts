import { join } from "node:path";
import type { ToolName } from "../tools/index.ts";

/** Where the servers listen. Defaults put everything on loopback of this machine. */
export interface Network {
  /** Put before every server's command line and every kubectl's, such as `["ip", "netns", "exec", "lab"]`. */
  commandPrefix: readonly string[];
  /** The API server listens here … */
  bindAddress: string;
  /** … and is reached here, by kubeconfigs and by pods. */
  advertiseAddress: string;
  /** More addresses or names in the API server's certificate. */
  subjectAltNames: readonly string[];
  apiPort: number;
  etcdPort: number;
  serviceCidr: string;
}

/** Files of a control plane inside its folder. */
export function layout(folder: string) {
  return {
    record: join(folder, "record.json"),
    kubeconfig: join(folder, "kubeconfig"),
    etcdData: join(folder, "etcd"),
    kubectlCache: join(folder, "kubectl-cache"),
    kubeconfigs: join(folder, "kubeconfigs"),
    log: (server: string) => join(folder, `${server}.log`),
    certificate: (name: string) => join(folder, "pki", `${name}.crt`),
    key: (name: string) => join(folder, "pki", `${name}.key`),
    serviceAccountPublicKey: join(folder, "pki", "service-account.pub"),
  };
}

export type ServerName = "etcd" | "kube-apiserver" | "kube-controller-manager" | "kube-scheduler";

/** In the order of starting. */
export function serverNames(cluster: boolean): ServerName[] {
  return cluster ? ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] : ["etcd", "kube-apiserver"];
}

export function toolNames(cluster: boolean): ToolName[] {
  return [...serverNames(cluster), "kubectl"];
}

/** The arguments of a server whose files lie in `folder`. */
export function serverArguments(server: ServerName, folder: string, network: Network): string[] {
  const files = layout(folder);
  const etcdUrl = `http://127.0.0.1:${network.etcdPort}`;
  switch (server) {
    case "etcd":
      return flags({
        "data-dir": files.etcdData,
        "listen-client-urls": etcdUrl,
        "advertise-client-urls": etcdUrl,
        "listen-peer-urls": "http://127.0.0.1:0",
        "unsafe-no-fsync": "true",
      });
    case "kube-apiserver":
      return flags({
        "etcd-servers": etcdUrl,
        "bind-address": network.bindAddress,
        "advertise-address": network.advertiseAddress,
        "secure-port": String(network.apiPort),
        "tls-cert-file": files.certificate("kube-apiserver"),
        "tls-private-key-file": files.key("kube-apiserver"),
        "client-ca-file": files.certificate("ca"),
        "kubelet-client-certificate": files.certificate("admin"),
        "kubelet-client-key": files.key("admin"),
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": files.serviceAccountPublicKey,
        "service-account-signing-key-file": files.key("service-account"),
        "service-cluster-ip-range": network.serviceCidr,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        // A loopback address is refused as an endpoint of the Service "kubernetes"; nothing in a pod could use it anyway.
        ...(isLoopback(network.advertiseAddress) ? { "endpoint-reconciler-type": "none" } : {}),
      });
    case "kube-controller-manager":
      return flags({
        kubeconfig: files.kubeconfig,
        "service-account-private-key-file": files.key("service-account"),
        "root-ca-file": files.certificate("ca"),
        "cluster-signing-cert-file": files.certificate("ca"),
        "cluster-signing-key-file": files.key("ca"),
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "secure-port": "0",
      });
    case "kube-scheduler":
      return flags({ kubeconfig: files.kubeconfig, "leader-elect": "false", "secure-port": "0" });
  }
}

export function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}

function flags(values: Record<string, string>): string[] {
  return Object.entries(values).map(([name, value]) => `--${name}=${value}`);
}
