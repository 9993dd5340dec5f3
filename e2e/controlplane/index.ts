import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { QuorateError } from "../../errors.ts";
import { ensureBinaries, identifyProcess, type Progress, whyNotAvailable } from "../tools/index.ts";
import { type ControlPlane, LocalControlPlane } from "./control-plane.ts";
import { useExistingCluster } from "./existing.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { createAuthority, createSigningKey, issueClientCertificate, issueServerCertificate } from "./pki.ts";
import { freePorts } from "./ports.ts";
import { signalProcess } from "./processes.ts";
import {
  type ControlPlaneRecord,
  claimFolder,
  readRecord,
  reapStale,
  removeControlPlane,
  writeRecord,
} from "./record.ts";
import { layout, type Network, toolNames } from "./servers.ts";

export { type ControlPlane, LocalControlPlane, type User } from "./control-plane.ts";
export type { KubectlOptions, KubectlResult } from "./kubectl.ts";
export { type ControlPlaneRecord, isStale, listRecords, reapStale, removeControlPlane } from "./record.ts";
export { type Network, toolNames } from "./servers.ts";

export interface ControlPlaneOptions {
  /** Names its folder below `${QUORATE_CACHE}/controlplane`; default: made from this process. */
  name?: string;
  /** Also a controller-manager and a scheduler, so that Deployments, DaemonSets and the deletion of namespaces work [false]. */
  cluster?: boolean;
  /** It outlives this process, until `stop()`, `removeControlPlane(name)` or `quorate controlplane down` [false]. */
  persistent?: boolean;
  /** Where it listens [loopback of this machine, free ports]. */
  network?: Partial<Network>;
  /** Told about what takes long (builds) [standard error]. */
  progress?: Progress;
  /** The cluster of `$KUBECONFIG` instead of one of our own [`QUORATE_USE_EXISTING=1`]. */
  useExisting?: boolean;
}

/**
 * A real etcd and kube-apiserver, ready to use (about 3 s, 300 MB; programs are built once, minutes, when there are none).
 * Several at once do not meet. It ends with `stop()`, with this process, or, after a kill -9 of this process, at the
 * next start of any control plane or `quorate controlplane down`.
 *
 * @throws QuorateError when programs cannot be had, the name is taken, or a server does not come up (with its last lines).
 */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  if (options.useExisting ?? process.env.QUORATE_USE_EXISTING === "1") return useExistingCluster(options.progress);
  return startLocalControlPlane(options);
}

/** As `startControlPlane`, never an existing cluster; what it returns also knows its folder and authority. */
export async function startLocalControlPlane(options: ControlPlaneOptions = {}): Promise<LocalControlPlane> {
  await reapStale();
  const binaries = await ensureBinaries(toolNames(options.cluster ?? false), options.progress);
  // Another process may take a port between the look and the use: then the server ends at once and fresh ones are tried.
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(options, binaries);
    } catch (error) {
      const portTaken = error instanceof QuorateError && error.message.includes("address already in use");
      if (!portTaken || attempt === 3 || options.network?.apiPort !== undefined) throw error;
    }
  }
}

/** The control plane of that name that runs on this machine, whoever started it. */
export function openControlPlane(name: string): LocalControlPlane | undefined {
  const record = readRecord(name);
  return record && new LocalControlPlane(record);
}

/** Why `startControlPlane` cannot work here, for the reason of a skipped test; undefined when it can. */
export function whyNoControlPlane(options: { cluster?: boolean } = {}): string | undefined {
  if (process.platform !== "linux") return `a control plane of our own needs Linux, this is ${process.platform}`;
  return whyNotAvailable(toolNames(options.cluster ?? false));
}

let started = 0;

async function startOnce(options: ControlPlaneOptions, binaries: Record<string, string>): Promise<LocalControlPlane> {
  const name = options.name ?? `process-${process.pid}-${started++}`;
  const folder = claimFolder(name);
  try {
    const network = await completeNetwork(options.network ?? {});
    const url = `https://${bracketed(network.advertiseAddress)}:${network.apiPort}`;
    const owner = options.persistent ? undefined : identifyProcess(process.pid);
    const record: ControlPlaneRecord = {
      name,
      folder,
      cluster: options.cluster ?? false,
      url,
      network,
      startedAt: new Date().toISOString(),
      ...(owner && { owner }),
      binaries,
      servers: {},
    };
    writeRecord(record);
    await writeFiles(record);
    const controlPlane = new LocalControlPlane(record);
    if (!options.persistent) endWithThisProcess(name);
    await controlPlane.startAll();
    return controlPlane;
  } catch (error) {
    await removeControlPlane(name);
    throw error;
  }
}

async function completeNetwork(given: Partial<Network>): Promise<Network> {
  const bindAddress = given.bindAddress ?? "127.0.0.1";
  // In another network namespace our own view of free ports means nothing; there the usual ones are free.
  const elsewhere = (given.commandPrefix?.length ?? 0) > 0;
  const [apiPort = 6443, etcdPort = 2379] = elsewhere ? [] : await freePorts(bindAddress, 2);
  return {
    commandPrefix: [],
    bindAddress,
    advertiseAddress: bindAddress === "0.0.0.0" || bindAddress === "::" ? "127.0.0.1" : bindAddress,
    subjectAltNames: [],
    apiPort,
    etcdPort,
    serviceCidr: "10.96.0.0/16",
    ...given,
  };
}

/** Authority, certificates, keys and the administrator's kubeconfig. */
async function writeFiles(record: ControlPlaneRecord): Promise<void> {
  const { folder, network, url, name } = record;
  const files = layout(folder);
  const authority = await createAuthority(`quorate-${name}`);
  const firstServiceAddress = network.serviceCidr.replace(/0\/\d+$/, "1");
  const addresses = [
    "127.0.0.1",
    network.bindAddress,
    network.advertiseAddress,
    firstServiceAddress,
    ...network.subjectAltNames,
  ];
  const names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
  const server = await issueServerCertificate(authority, "kube-apiserver", [...new Set([...addresses, ...names])]);
  const admin = await issueClientCertificate(authority, {
    commonName: "quorate-admin",
    organizations: ["system:masters"],
  });
  const tokens = await createSigningKey();

  mkdirSync(dirname(files.key("ca")), { mode: 0o700 });
  const secret = { mode: 0o600 };
  for (const [file, pair] of Object.entries({ ca: authority, "kube-apiserver": server, admin })) {
    writeFileSync(files.certificate(file), pair.certificate);
    writeFileSync(files.key(file), pair.key, secret);
  }
  writeFileSync(files.key("service-account"), tokens.privateKey, secret);
  writeFileSync(files.serviceAccountPublicKey, tokens.publicKey);
  writeKubeconfig(files.kubeconfig, { name, url, authority: authority.certificate }, admin);
}

/** A test that forgets `stop()` or fails before it leaves nothing running; the folder goes at the next start. */
function endWithThisProcess(name: string): void {
  process.once("exit", () => {
    for (const identity of Object.values(readRecord(name)?.servers ?? {})) signalProcess(identity, "SIGKILL");
  });
}

function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}
