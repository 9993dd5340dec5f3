import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { QuorateError } from "../../errors.ts";
import { LabCgroups } from "./cgroups.ts";
import type { CutOptions, LabHost } from "./host.ts";
import { findLab, openLab } from "./lab.ts";
import { insidePrefix } from "./namespace.ts";
import { type AgentMode, layout, listLabs } from "./state.ts";
import { describeLab } from "./status.ts";
import { tearDown } from "./tear-down.ts";
import { labUp } from "./up.ts";
import { readWitnessDisk } from "./witness-disk.ts";

const USAGE = `usage: quorate lab COMMAND [ARGUMENT ...] [--name LAB]

Real hosts on this machine (Linux, root): whole Debians as containers, with corosync, kubelet, storage and QEMU.

  up --hosts N [--agent DaemonSet|SystemdUnit] [--on-reset reboot|off]
                                bring up hosts n1 to nN and a control plane
  status                        what is up, what is cut
  down [--all]                  end and remove it, also what a crash left
  exec HOST COMMAND [ARG ...]   run a command in a host (--name goes before it)
  shell [HOST]                  a shell in a host, or in the lab's network

  cut HOST [--link 0|1] [--corosync] [--api] [--from HOST]
                                drop its frames: all, of one link, of corosync, to the API server, to another host
  heal [HOST] [same options]    end cuts; without a host, end every fault of the lab
  freeze HOST [PROCESS]         stop a host in its tracks, or a unit, a program by name, or /command line/
  thaw HOST [PROCESS]           let go on
  kill HOST PROCESS             SIGKILL
  power HOST on|off|reset|reboot|shutdown
                                off and reset pull the plug; reboot and shutdown are orderly
  on-reset HOST reboot|off [--delay SECONDS]
                                what follows when its watchdog resets it [reboot after 3]
  watchdog HOST                 what its watchdog noted, as JSON lines
  api pause|resume|stop|start   the API server
  load-image ARCHIVE            put a container image into every host
  lockcheck FILE                exit status 1 when a guest was seen running twice on this witness disk

  --name LAB    one of several labs at a time [lab]

QUORATE_LAB_KEEP=1 keeps what is there of a lab that does not come up, for a look.
`;

const OPTIONS = {
  name: { type: "string", default: "lab" },
  hosts: { type: "string" },
  agent: { type: "string", default: "DaemonSet" },
  "on-reset": { type: "string", default: "reboot" },
  delay: { type: "string", default: "3" },
  link: { type: "string" },
  corosync: { type: "boolean", default: false },
  api: { type: "boolean", default: false },
  from: { type: "string" },
  all: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

type Values = ReturnType<typeof parse>["values"];
type Command = (words: string[], values: Values) => Promise<void>;

const COMMANDS: Record<string, Command> = {
  up,
  status,
  down,
  exec,
  shell,
  cut,
  heal,
  freeze: async ([host, process], values) => onHost(host, values).freeze(process),
  thaw: async ([host, process], values) => onHost(host, values).thaw(process),
  kill: async ([host, process], values) => onHost(host, values).kill(required(process, "a process")),
  power,
  "on-reset": onReset,
  watchdog: async ([host], values) => {
    for (const event of onHost(host, values).watchdogEvents()) console.log(JSON.stringify(event));
  },
  api,
  "load-image": async ([archive], values) => openLab(values.name).loadImage(required(archive, "an archive")),
  lockcheck,
};

/** `quorate lab …`; sets the exit status: 1 when it failed, 64 when it was called wrongly, for exec that of the command. */
export async function main(args: string[]): Promise<void> {
  try {
    const { values, positionals } = parse(args);
    const [name, ...words] = positionals;
    if (values.help || name === "help") return console.log(USAGE);
    const command = name === undefined ? undefined : COMMANDS[name];
    if (command === undefined) {
      throw new TypeError(name === undefined ? "a command is missing" : `no command "${name}"`);
    }
    await command(words, values);
  } catch (error) {
    const wrongUse = error instanceof TypeError && !(error instanceof QuorateError);
    if (!wrongUse && !(error instanceof QuorateError)) throw error;
    process.stderr.write(`quorate lab: ${error.message}\n${wrongUse ? "quorate lab --help says more\n" : ""}`);
    process.exitCode = wrongUse ? 64 : 1;
  }
}

/** What follows `exec HOST` belongs to the command that is run, whatever it looks like. */
function parse(args: string[]) {
  const exec = args.indexOf("exec");
  if (exec < 0) return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  let host = exec + 1;
  while (args[host]?.startsWith("--")) host += args[host]?.includes("=") ? 1 : 2;
  const rest = args.slice(host + 1);
  const own = parseArgs({ args: args.slice(0, host + 1), options: OPTIONS, allowPositionals: true });
  return { ...own, positionals: [...own.positionals, ...(rest[0] === "--" ? rest.slice(1) : rest)] };
}

async function up(_words: string[], values: Values): Promise<void> {
  const hosts = Number(required(values.hosts, "--hosts N"));
  const lab = await labUp({
    hosts,
    name: values.name,
    agent: oneOf<AgentMode>(values.agent, ["DaemonSet", "SystemdUnit"], "--agent"),
    onReset: policy(values["on-reset"], values),
  });
  console.log(await describeLab(lab));
}

async function status(_words: string[], values: Values): Promise<void> {
  const lab = findLab(values.name);
  const others = listLabs().filter((name) => name !== values.name);
  console.log(lab === undefined ? `no lab "${values.name}" is up` : await describeLab(lab));
  for (const name of others) console.log(`lab ${name}: ${findLab(name) ? "up" : "dead"}`);
  if (lab === undefined) process.exitCode = 1;
}

async function down(_words: string[], values: Values): Promise<void> {
  for (const name of values.all ? listLabs() : [values.name]) {
    console.log((await tearDown(name)) ? `lab ${name} is gone` : `there is no lab ${name}`);
  }
}

async function exec([host, ...command]: string[], values: Values): Promise<void> {
  if (command.length === 0) throw new TypeError("a command is missing");
  await onTerminal([...onHost(host, values).attachCommand(), ...command]);
}

async function shell([host]: string[], values: Values): Promise<void> {
  const lab = openLab(values.name);
  const prefix =
    host === undefined ? insidePrefix(lab.record.holder, new LabCgroups(lab.name)) : lab.host(host).attachCommand();
  await onTerminal([...prefix, "/bin/bash", "-l"]);
}

async function cut([host]: string[], values: Values): Promise<void> {
  for (const options of cutOptions(values)) await onHost(host, values).cut(options);
}

async function heal([host]: string[], values: Values): Promise<void> {
  if (host === undefined) return openLab(values.name).healAll();
  for (const options of cutOptions(values)) await onHost(host, values).heal(options);
}

async function power([name, action]: string[], values: Values): Promise<void> {
  const host = onHost(name, values);
  const actions: Record<string, () => Promise<void>> = {
    on: () => host.powerOn(),
    off: () => host.powerOff(),
    reset: () => host.reset(),
    reboot: () => host.reboot(),
    shutdown: () => host.shutdown(),
  };
  await actions[oneOf(required(action, "on, off, …"), Object.keys(actions), "power")]?.();
}

async function onReset([host, what]: string[], values: Values): Promise<void> {
  onHost(host, values).setOnReset(policy(required(what, "reboot or off"), values));
}

async function api([action]: string[], values: Values): Promise<void> {
  const { controlPlane } = openLab(values.name);
  const actions: Record<string, () => Promise<void>> = {
    pause: async () => controlPlane.pauseApiServer(),
    resume: async () => controlPlane.resumeApiServer(),
    stop: () => controlPlane.stopApiServer("SIGKILL"),
    start: () => controlPlane.startApiServer(),
  };
  await actions[oneOf(required(action, "pause, resume, stop or start"), Object.keys(actions), "api")]?.();
}

async function lockcheck([given]: string[], values: Values): Promise<void> {
  const file = required(given, "a file");
  const { shared } = layout(values.name);
  const disk = readWitnessDisk(file.startsWith("/srv/shared/") ? join(shared, file.slice("/srv/shared".length)) : file);
  console.log(`${disk.boots} boots, the last ${disk.boot ?? "-"}`);
  if (disk.twice === undefined) return;
  console.log(disk.twice);
  process.exitCode = 1;
}

function onHost(host: string | undefined, values: Values): LabHost {
  return openLab(values.name).host(required(host, "a host"));
}

function cutOptions(values: Values): CutOptions[] {
  const options: CutOptions[] = [
    ...(values.link === undefined ? [] : [{ link: values.link === "0" ? (0 as const) : (1 as const) }]),
    ...(values.corosync ? [{ traffic: "corosync" as const }] : []),
    ...(values.api ? [{ traffic: "api" as const }] : []),
    ...(values.from === undefined ? [] : [{ from: openLab(values.name).host(values.from).name }]),
  ];
  if (values.link !== undefined) oneOf(values.link, ["0", "1"], "--link");
  return options.length > 0 ? options : [{}];
}

function policy(word: string, values: Values) {
  const reboot = oneOf(word, ["reboot", "off"], "on-reset") === "reboot";
  const delaySeconds = Number(values.delay);
  if (!Number.isInteger(delaySeconds) || delaySeconds < 0) throw new TypeError(`--delay ${values.delay}: give seconds`);
  return { reboot, delaySeconds };
}

function required(value: string | undefined, what: string): string {
  if (value === undefined) throw new TypeError(`${what} is missing`);
  return value;
}

function oneOf<T extends string>(value: string, allowed: readonly T[], what: string): T {
  const found = allowed.find((each) => each === value);
  if (found === undefined) throw new TypeError(`${what} "${value}": one of ${allowed.join(", ")}`);
  return found;
}

/** Runs a command with this terminal and takes over its exit status. */
async function onTerminal([program = "", ...args]: string[]): Promise<void> {
  const child = spawn(program, args, { stdio: "inherit" });
  const [code] = (await once(child, "exit")) as [number | null];
  process.exitCode = code ?? 1;
}
