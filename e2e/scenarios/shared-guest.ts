import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Installed, type Manifest } from "../installed/index.ts";
import { type Lab, type LabHost, waitFor } from "../lab/index.ts";

/** Below /srv/shared of every host: the storage that all share, so that the guest can start anywhere, any number of times. */
export const SHARED = "guests";

/**
 * Installs the chart and applies the examples, but with one guest `web1` whose disks are on a storage that all hosts share.
 * Its second disk is the witness on which the guest itself claims, again and again, that it alone runs.
 */
export async function installSharedGuest(
  lab: Lab,
  change: (object: Manifest) => Manifest | undefined = (object) => object,
): Promise<Installed> {
  mkdirSync(join(lab.shared, SHARED), { recursive: true });
  const installed = await Installed.install(lab);
  await installed.applyExamples((object) => {
    if (object.kind === "ReplicationJob" || object.kind === "HAGroup") return undefined;
    return change(shared(object));
  });
  await installed.untilQuorate(120_000);
  await installed.untilRunning("web1", 120_000);
  return installed;
}

function shared(object: Manifest): Manifest {
  const { spec = {} } = object;
  if (object.kind === "Cluster") {
    const storage = { name: SHARED, type: "Directory", path: `/srv/shared/${SHARED}`, shared: true };
    return { ...object, spec: { ...spec, storages: [storage] } };
  }
  if (object.kind === "Guest") {
    const volumes = [
      { name: "root", storage: SHARED, size: "64Mi" },
      { name: "witness", storage: SHARED, size: "1Mi" },
    ];
    return { ...object, spec: { ...spec, volumes } };
  }
  // Without a group all nodes are equal, and nothing goes back by itself.
  return object.kind === "HAResource" ? { ...object, spec: { state: "Started" } } : object;
}

/** Where the guest is now, as the controllers have it. */
export async function hostOf(installed: Installed, name = "web1"): Promise<LabHost> {
  const { node } = (await installed.resource(name)).status ?? {};
  return installed.lab.host(node ?? "");
}

export async function untilOnline(installed: Installed, host: LabHost, deadlineMs = 120_000): Promise<void> {
  await waitFor(
    async () => {
      const { status } = await installed.node(host.name);
      return status?.state === "Online" && condition(status.conditions, "AgentReady") === "True";
    },
    deadlineMs,
    `${host.name} to be Online`,
    { intervalMs: 500 },
  );
}

export function condition(
  conditions: readonly { type?: string; status?: string }[] | undefined,
  type: string,
): string | undefined {
  return conditions?.find((each) => each.type === type)?.status;
}

/** The process of the guest on a host; empty when there is none. */
export function processOf(host: LabHost, name = "web1"): Promise<string> {
  return host.output("pgrep", ["-f", `guest=lab.${name}`], { exitCodes: [0, 1] });
}
