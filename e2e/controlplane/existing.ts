import { randomUUID } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { dump } from "js-yaml";
import { QuorateError } from "../../errors.ts";
import { cacheFolder, ensureBinaries, type Progress } from "../tools/index.ts";
import type { ControlPlane, User } from "./control-plane.ts";
import { type KubectlOptions, runKubectl } from "./kubectl.ts";

/** The cluster of `$KUBECONFIG` (or ~/.kube/config) in place of one of our own: `stop()` leaves it as it is, and faults are refused. */
export async function useExistingCluster(progress?: Progress): Promise<ControlPlane> {
  const kubeconfig = process.env.KUBECONFIG ?? join(homedir(), ".kube", "config");
  const binaries = await ensureBinaries(["kubectl"], progress);
  const target = { kubectl: binaries.kubectl, kubeconfig, commandPrefix: [], cacheFolder: cacheFolder("kubectl") };
  const kubectl = (args: readonly string[], options?: KubectlOptions) => runKubectl(target, args, options);
  const config = JSON.parse(
    (await kubectl(["config", "view", "--minify", "--flatten", "-o", "json"])).stdout,
  ) as Kubeconfig;
  const made: string[] = [];

  const refuse = (): never => {
    throw new QuorateError(
      "user",
      "ExistingCluster",
      `the API server ${kubeconfig} names is not ours to stop; run without --use-existing`,
    );
  };
  const stop = async () => {
    for (const file of made) rmSync(file, { force: true });
  };
  return {
    name: "existing",
    url: config.clusters[0]?.cluster.server ?? "",
    kubeconfig,
    binaries,
    kubectl,
    kubeconfigFor: async (user: User) => {
      const file = join(cacheFolder("kubectl"), `${randomUUID()}.kubeconfig`);
      const users = config.users.map((entry) => ({
        ...entry,
        user: { ...entry.user, as: user.name, "as-groups": user.groups ?? [] },
      }));
      writeFileSync(file, dump({ ...config, users }), { mode: 0o600 });
      made.push(file);
      return file;
    },
    stopApiServer: async () => refuse(),
    startApiServer: async () => refuse(),
    pauseApiServer: refuse,
    resumeApiServer: refuse,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface Kubeconfig {
  clusters: { cluster: { server: string } }[];
  users: { name: string; user: object }[];
}
