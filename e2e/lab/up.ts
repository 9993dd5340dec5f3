import { mkdirSync } from "node:fs";
import { systemClock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { toolNames } from "../controlplane/index.ts";
import { cacheFolder, ensureBinaries, type Progress, withLock } from "../tools/index.ts";
import { LabCgroups } from "./cgroups.ts";
import { powerOn, writeContainer } from "./container.ts";
import { ensureDebianRoot } from "./debian-root.ts";
import { startForwarder } from "./forward.ts";
import { ensureGoProgram } from "./go-program.ts";
import { ensureGuestImages, GUEST_IMAGES } from "./guest-images.ts";
import { type HostParts, hostPrograms, makeHostFiles, makeLayer, mountHost } from "./host-files.ts";
import { findLab, Lab } from "./lab.ts";
import { insidePrefix, startHolder } from "./namespace.ts";
import { createNetwork } from "./network.ts";
import { joinNode, nodesReady, startControlPlane, writeMachineKubeconfig } from "./nodes.ts";
import { ensureHostPackages } from "./packages.ts";
import { ensurePauseImage } from "./pause-image.ts";
import { requireLab } from "./requirements.ts";
import { type AgentMode, claimLab, hostNames, type LabRecord, layout, MAX_HOSTS, writeRecord } from "./state.ts";
import { tearDown } from "./tear-down.ts";
import { type OnReset, setOnReset, startWatchdog } from "./watchdog.ts";

export interface LabOptions {
  /** How many hosts, n1 to nN. */
  hosts: number;
  /** One of several labs at a time ["lab"]. */
  name?: string;
  /** DaemonSet: the hosts are Kubernetes nodes. SystemdUnit: they are not, and need no kubelet [DaemonSet]. */
  agent?: AgentMode;
  /** What follows when a watchdog resets its host [up again after 3 s]. */
  onReset?: OnReset;
  /** Told what happens [standard error]. */
  progress?: Progress;
}

/**
 * Brings up a lab: real hosts on this machine and a control plane for them. Installs and builds what is missing first
 * (minutes, once); then it takes 10 to 20 s for three hosts. A dead lab of that name is cleaned up before.
 *
 * The lab outlives this process: end it with `lab.down()`.
 *
 * @throws QuorateError `user` LabExists when a lab of that name is up; `environment` when a part cannot be had or does not
 *   start; nothing of the lab is left then.
 */
export async function labUp(options: LabOptions): Promise<Lab> {
  const progress = options.progress ?? ((line) => process.stderr.write(`${line}\n`));
  const record = newRecord(options);
  requireLab();
  await ensureHostPackages(progress);
  const parts = await ensureParts(record, progress);
  const onWait = (holder: number) => progress(`process ${holder} works on lab "${record.name}"; waiting for it`);
  return withLock(`${cacheFolder("labs")}/${record.name}.lock`, onWait, async () => {
    if (findLab(record.name) !== undefined) {
      const how = `use it, or end it with: quorate lab down --name ${record.name}`;
      throw new QuorateError("user", "LabExists", `lab "${record.name}" is up; ${how}`);
    }
    if (await tearDown(record.name)) progress(`cleaned up what was left of lab "${record.name}"`);
    try {
      return await bringUp(record, parts, options.onReset ?? { reboot: true, delaySeconds: 3 }, progress);
    } catch (error) {
      if (process.env.QUORATE_LAB_KEEP !== "1") await tearDown(record.name);
      throw error;
    }
  });
}

function newRecord(options: LabOptions): LabRecord {
  const { hosts, name = "lab", agent = "DaemonSet" } = options;
  if (!Number.isInteger(hosts) || hosts < 1 || hosts > MAX_HOSTS) {
    throw new QuorateError("user", "InvalidHosts", `${hosts} hosts: give a number from 1 to ${MAX_HOSTS}`);
  }
  layout(name); // refuses a bad name before minutes of building
  return { name, hosts, agent, createdAt: new Date().toISOString() };
}

async function ensureParts(record: LabRecord, progress: Progress): Promise<HostParts & { watchdog: string }> {
  const programs = await ensureBinaries([...toolNames(true), ...hostPrograms(record)], progress);
  return {
    programs,
    watchdog: await ensureGoProgram("watchdog", progress),
    debianRoot: await ensureDebianRoot(progress),
    guestImages: await ensureGuestImages(progress),
    pauseImage: await ensurePauseImage(),
  };
}

async function bringUp(
  record: LabRecord,
  parts: HostParts & { watchdog: string },
  onReset: OnReset,
  progress: Progress,
): Promise<Lab> {
  const began = systemClock.elapsedMs();
  const tell = (what: string) => progress(`${((systemClock.elapsedMs() - began) / 1000).toFixed(1)} s  ${what}`);
  const files = layout(record.name);
  const cgroups = new LabCgroups(record.name);
  claimLab(record);
  cgroups.create();
  const holder = await startHolder(files, cgroups);
  const kubectl = parts.programs.kubectl ?? "kubectl";
  writeRecord({ ...record, holder, kubectl });
  const inside = insidePrefix(holder, cgroups);
  await createNetwork(inside, record.hosts);
  mkdirSync(files.lxc, { recursive: true });
  mkdirSync(files.shared, { recursive: true });
  makeLayer(record, files, parts, Object.values(GUEST_IMAGES));
  tell("network and disks");

  const startHost = async (host: string, index: number): Promise<void> => {
    await makeHostFiles(record, files, host, index + 1);
    setOnReset(files.host(host), onReset);
    await mountHost(files, inside, parts.debianRoot, host);
    await startWatchdog(record.name, files, cgroups, inside, parts.watchdog, host);
    writeContainer(record.name, files, cgroups, host, index + 1);
    await powerOn({ lab: record.name, host, files, cgroups, inside });
    tell(`${host} has power`);
  };
  const starting = startControlPlane(record.name, inside, progress);
  await all([starting, ...hostNames(record.hosts).map(startHost)]);
  const controlPlane = await starting;
  const apiPort = await startForwarder(inside, files.log("forwarder"));
  writeMachineKubeconfig(controlPlane, files, apiPort);
  const complete: LabRecord = { ...record, holder, kubectl, apiPort };
  writeRecord(complete);
  tell("control plane");

  const lab = new Lab(complete, holder, controlPlane);
  if (record.agent === "DaemonSet") {
    await all(lab.hosts.map((host) => joinNode(controlPlane, host)));
    await nodesReady(lab);
  } else {
    await all(lab.hosts.map((host) => host.waitUntilBooted()));
  }
  tell(`${record.hosts} hosts are ready`);
  return lab;
}

/** Waits for all, also when one fails: nothing may go on behind a clean-up. Throws the first error. */
async function all(work: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}
