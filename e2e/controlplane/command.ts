import { parseArgs } from "node:util";
import { QuorateError } from "../../errors.ts";
import { ensureBinaries, isToolName, processLives, TOOL_NAMES, type ToolName } from "../tools/index.ts";
import {
  isStale,
  listRecords,
  openControlPlane,
  reapStale,
  removeControlPlane,
  startLocalControlPlane,
  toolNames,
} from "./index.ts";

const USAGE = `usage: quorate controlplane up|down|status|build [--name NAME] [--cluster] [--print-kubeconfig]

  up       start a real etcd and kube-apiserver on loopback; they stay until "down"
  down     end them and remove their data, and those of test runs that were killed
  status   what runs
  build    only build the programs (once, from their pinned Go modules), or the named ones: build helm kubelet …

  --name NAME           one of several at a time [default]
  --cluster             also a controller-manager and a scheduler
  --all                 down: every one of this machine
  --print-kubeconfig    up, status: print the path of the kubeconfig and nothing else

Programs come from $KUBEBUILDER_ASSETS, else from the cache \${QUORATE_CACHE:-~/.cache/quorate}, else they are built.
`;

const OPTIONS = {
  name: { type: "string", default: "default" },
  cluster: { type: "boolean", default: false },
  all: { type: "boolean", default: false },
  "print-kubeconfig": { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

interface Options {
  name: string;
  cluster: boolean;
  all: boolean;
  printKubeconfig: boolean;
  rest: string[];
}

const COMMANDS: Record<string, (options: Options) => Promise<void>> = { up, down, status, build };

/** `quorate controlplane …`; sets the exit status: 1 when it failed, 64 when it was called wrongly. */
export async function main(args: string[]): Promise<void> {
  try {
    const { values, positionals } = parseArgs({ args, options: OPTIONS, allowPositionals: true });
    const [name, ...rest] = positionals;
    const command = name === undefined ? undefined : COMMANDS[name];
    if (values.help) return console.log(USAGE);
    if (command === undefined)
      throw new TypeError(name === undefined ? "a command is missing" : `no command "${name}"`);
    await command({
      name: values.name,
      cluster: values.cluster,
      all: values.all,
      printKubeconfig: values["print-kubeconfig"],
      rest,
    });
  } catch (error) {
    const wrongUse = error instanceof TypeError;
    if (!wrongUse && !(error instanceof QuorateError)) throw error;
    process.stderr.write(`quorate controlplane: ${error.message}\n${wrongUse ? `\n${USAGE}` : ""}`);
    process.exitCode = wrongUse ? 64 : 1;
  }
}

async function up(options: Options): Promise<void> {
  const running = openControlPlane(options.name);
  if (running !== undefined && (await answers(running))) return print(running, options);
  if (running !== undefined) await removeControlPlane(options.name);
  print(await startLocalControlPlane({ name: options.name, cluster: options.cluster, persistent: true }), options);
}

async function down(options: Options): Promise<void> {
  const names = options.all ? listRecords().map((record) => record.name) : [options.name];
  for (const name of names) {
    if (await removeControlPlane(name)) console.log(`ended ${name}`);
  }
  for (const name of await reapStale()) console.log(`ended ${name}, left behind by a process that is gone`);
}

async function status(options: Options): Promise<void> {
  if (options.printKubeconfig) {
    const running = openControlPlane(options.name);
    if (running === undefined)
      throw new QuorateError(
        "user",
        "NotFound",
        `no control plane "${options.name}"; start it with: quorate controlplane up`,
      );
    return console.log(running.kubeconfig);
  }
  const records = listRecords();
  if (records.length === 0) console.log("nothing runs");
  for (const record of records) {
    const servers = Object.entries(record.servers).map(
      ([name, identity]) => `${name} ${processLives(identity) ? identity.pid : "ended"}`,
    );
    const owner =
      record.owner === undefined
        ? "stays until down"
        : isStale(record)
          ? "left behind"
          : `of process ${record.owner.pid}`;
    console.log(
      `${record.name}  ${record.url}  since ${record.startedAt}  ${owner}\n  ${servers.join(", ")}\n  KUBECONFIG=${record.folder}/kubeconfig`,
    );
  }
}

async function build(options: Options): Promise<void> {
  const names = options.rest.length > 0 ? options.rest.map(asToolName) : toolNames(options.cluster);
  for (const path of Object.values(await ensureBinaries(names))) console.log(path);
}

function asToolName(name: string): ToolName {
  if (!isToolName(name)) throw new TypeError(`no program "${name}"; there are ${TOOL_NAMES.join(", ")}`);
  return name;
}

function print(
  controlPlane: { kubeconfig: string; url: string; binaries: Readonly<Record<string, string>> },
  options: Options,
): void {
  if (options.printKubeconfig) {
    console.log(controlPlane.kubeconfig);
    return;
  }
  console.log(
    `${controlPlane.url} is ready\n\nexport KUBECONFIG=${controlPlane.kubeconfig}\n${controlPlane.binaries.kubectl} get namespaces`,
  );
}

async function answers(controlPlane: { kubectl(args: string[]): Promise<unknown> }): Promise<boolean> {
  return controlPlane.kubectl(["get", "--raw=/readyz", "--request-timeout=3s"]).then(
    () => true,
    () => false,
  );
}
