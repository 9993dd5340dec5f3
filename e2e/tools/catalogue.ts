/**
 * Which programs tests and the lab need, and the Go package each is built from. Versions stand in the go.mod beside
 * (`go.sum` pins their content); the version of Kubernetes is repeated here because its linker flags need it.
 */
export interface Tool {
  /** Folder under e2e/tools with go.mod and go.sum. */
  module: string;
  /** Go package of the program. */
  package: string;
  /** `-X` settings for the linker: programs of Kubernetes report v0.0.0 without them. */
  linkerSettings?: Record<string, string>;
}

const KUBERNETES_VERSION = "v1.36.3";

function kubernetes(name: string): Tool {
  const version = "k8s.io/component-base/version";
  const [major = "", minor = ""] = KUBERNETES_VERSION.slice(1).split(".");
  return {
    module: "kubernetes",
    package: `k8s.io/kubernetes/cmd/${name}`,
    linkerSettings: {
      [`${version}.gitVersion`]: KUBERNETES_VERSION,
      [`${version}.gitMajor`]: major,
      [`${version}.gitMinor`]: minor,
    },
  };
}

function containerd(name: string): Tool {
  return { module: "containerd", package: `github.com/containerd/containerd/v2/cmd/${name}` };
}

function cni(path: string): Tool {
  return { module: "cni", package: `github.com/containernetworking/plugins/plugins/${path}` };
}

export const TOOLS = {
  "kube-apiserver": kubernetes("kube-apiserver"),
  etcd: { module: "etcd", package: "go.etcd.io/etcd/server/v3" },
  kubectl: kubernetes("kubectl"),
  "kube-controller-manager": kubernetes("kube-controller-manager"),
  "kube-scheduler": kubernetes("kube-scheduler"),
  kubelet: kubernetes("kubelet"),
  helm: { module: "helm", package: "helm.sh/helm/v4/cmd/helm" },
  containerd: containerd("containerd"),
  "containerd-shim-runc-v2": containerd("containerd-shim-runc-v2"),
  ctr: containerd("ctr"),
  bridge: cni("main/bridge"),
  loopback: cni("main/loopback"),
  "host-local": cni("ipam/host-local"),
  portmap: cni("meta/portmap"),
} satisfies Record<string, Tool>;

export type ToolName = keyof typeof TOOLS;

/** The CNI plugins: they share one folder, so the folder of any of them is a `bin_dir` of containerd. */
export const CNI_PLUGINS: readonly ToolName[] = ["bridge", "loopback", "host-local", "portmap"];

export const TOOL_NAMES = Object.keys(TOOLS) as ToolName[];

export function isToolName(name: string): name is ToolName {
  return Object.hasOwn(TOOLS, name);
}
