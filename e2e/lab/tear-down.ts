import { removeControlPlane } from "../controlplane/index.ts";
import { LabCgroups } from "./cgroups.ts";
import { controlPlaneName, forgetLab, hostNames, labExists, MAX_HOSTS, readRecord } from "./state.ts";

/**
 * Ends every process of a lab and removes what it left: control groups, files. Its namespaces, interfaces and mounts end
 * with its processes. Works from the control groups and the name alone, whatever happened to the lab before.
 * Returns whether there was anything.
 */
export async function tearDown(name: string): Promise<boolean> {
  const cgroups = new LabCgroups(name);
  const existed = labExists(name) || cgroups.exists();
  await cgroups.destroy(hostNames(readRecord(name)?.hosts ?? MAX_HOSTS));
  await removeControlPlane(controlPlaneName(name));
  forgetLab(name);
  return existed;
}

/** The ids of all processes that belong to a lab, dead or alive: hosts, control plane, watchdogs. */
export function labProcesses(name: string): number[] {
  return new LabCgroups(name).processes();
}
