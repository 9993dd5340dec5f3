import { Command, CommanderError, InvalidArgumentError } from "commander";
import { type Clock, systemClock } from "../clock.ts";
import type { DisarmMode } from "../crds/index.ts";
import { bundleName, writeBundle } from "./bundle-file.ts";
import { readCluster, readWarnings } from "./cluster-view.ts";
import {
  addConnectionFlags,
  type Connection,
  type ConnectionFlags,
  connectTo,
  durationOf,
  objectName,
} from "./connection.ts";
import { explainResource } from "./explain-resource.ts";
import { EXIT, failureOf, notFound } from "./failures.ts";
import { createMigration, watchMigration } from "./migrate.ts";
import { palette, wantsColour } from "./palette.ts";
import { printerOn } from "./printer.ts";
import { followJob, getJob, runJob } from "./replication-runs.ts";
import { setDisarm, setMaintenance, waitForArmed } from "./settings.ts";
import { showNodes } from "./show-nodes.ts";
import { showJobs, showLog } from "./show-replication.ts";
import { type Look, showStatus } from "./show-status.ts";
import { collectBundle } from "./support-bundle.ts";

const clock: Clock = systemClock;

/** `kubectl quorate`: sets the exit code, 0 ok, 1 failure, 64 wrong usage; throws nothing. */
export async function main(args: string[]): Promise<void> {
  // A reader that has seen enough (`| head`) ends the output, and is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(EXIT.ok);
  });
  try {
    await program().parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
      return;
    }
    const { text, exitCode } = failureOf(error);
    process.stderr.write(`${text}\n`);
    process.exitCode = exitCode;
  }
}

function program(): Command {
  const top = new Command("kubectl quorate")
    .description("Looks at and works with Quorate clusters. A namespace is a cluster.")
    .exitOverride()
    .showSuggestionAfterError()
    .helpCommand(false);
  addConnectionFlags(top);
  for (const add of [addShowing, addMoving, addGuarding, addReplication, addSupport]) add(top);
  return top;
}

function addShowing(top: Command): void {
  top
    .command("status")
    .description("the cluster on one screen: quorum, nodes, guests, replication, and what needs a look")
    .action(
      withConnection(async ({ client, namespace }) =>
        print(showStatus(await readCluster(client, namespace, now()), look())),
      ),
    );
  top
    .command("nodes")
    .description("the hosts in detail: addresses, versions, watchdogs, and what is wrong with each")
    .action(
      withConnection(async ({ client, namespace }) =>
        print(showNodes(await readCluster(client, namespace, now()), look())),
      ),
    );
  top
    .command("why")
    .description("why a guest under HA is where it is and as it is")
    .argument("<resource>", "name of the HAResource, which is that of the guest", objectName)
    .action(withConnection(explain));
}

async function explain({ client, namespace }: Connection, resource: string): Promise<void> {
  const view = await readCluster(client, namespace, now());
  const found = view.resources.find(({ metadata }) => metadata.name === resource);
  if (found !== undefined) {
    const warnings = await readWarnings(client, namespace, "HAResource", resource);
    print(explainResource(view, found, warnings, look()));
    return;
  }
  const guest = view.guests.find(({ metadata }) => metadata.name === resource);
  if (guest === undefined) throw notFound("HAResource", "haresources", resource, namespace);
  const where = guest.spec.nodeName ?? "no node";
  print(
    `${resource} is not under HA: it is bound to ${where} and stays there; apply an HAResource of this name to change that\n`,
  );
}

function addMoving(top: Command): void {
  top
    .command("migrate")
    .description("move a guest to another node")
    .argument("<guest>", "name of the Guest", objectName)
    .argument("<node>", "name of the ClusterNode it goes to", objectName)
    .option(
      "--relocate",
      "stop it, move it, start it, also where it could move while it runs (always so in this version)",
      false,
    )
    .option("--watch", "stay until it has moved; exit code 1 when it has not", false)
    .action(withConnection(migrate));
  top
    .command("maintenance")
    .description("let the guests under HA leave a node, or end that")
    .argument("<node>", "name of the ClusterNode", objectName)
    .argument("<on|off>", "begin or end", oneOf("on", "off"))
    .action(
      withConnection(async ({ client, namespace }, node: string, wish: "on" | "off") => {
        print(`${await setMaintenance(client, namespace, node, wish === "on")}\n`);
      }),
    );
}

async function migrate(
  { client, namespace }: Connection,
  guest: string,
  target: string,
  options: { relocate: boolean; watch: boolean },
): Promise<void> {
  const migration = await createMigration(client, { namespace, guest, target, relocate: options.relocate });
  if (migration === undefined) {
    print(`${guest} is on ${target} already\n`);
    return;
  }
  print(`Migration ${migration.metadata.name} created: ${guest} goes to ${target}\n`);
  if (options.watch) await watchMigration(client, migration, printerOn(process.stdout), clock);
}

function addGuarding(top: Command): void {
  const waitFlags = (command: Command) =>
    command
      .option("--wait", "stay until it is so", false)
      .option("--timeout <duration>", "longest wait, such as 2m", durationOf, 120_000);
  waitFlags(
    top
      .command("disarm")
      .description("stop guarding the whole cluster, for work on its network")
      .argument(
        "<freeze|ignore>",
        "freeze: guests stay as they are; ignore: as if not under HA",
        oneOf("freeze", "ignore"),
      ),
  ).action(
    withConnection((connection, mode: "freeze" | "ignore", options: WaitOptions) =>
      guard(connection, mode === "freeze" ? "Freeze" : "Ignore", options),
    ),
  );
  waitFlags(top.command("arm").description("guard the cluster again")).action(
    withConnection((connection, options: WaitOptions) => guard(connection, undefined, options)),
  );
}

interface WaitOptions {
  wait: boolean;
  timeout: number;
}

async function guard(
  { client, namespace }: Connection,
  mode: DisarmMode | undefined,
  { wait, timeout }: WaitOptions,
): Promise<void> {
  const { cluster, text } = await setDisarm(client, namespace, mode);
  print(`${text}\n`);
  if (wait) print(`${await waitForArmed(client, cluster, mode === undefined, timeout, clock)}\n`);
}

function addReplication(top: Command): void {
  const replication = top.command("replication").description("the replication jobs of the cluster").helpCommand(false);
  replication
    .command("list")
    .description("all jobs with the age of what their targets have")
    .action(
      withConnection(async ({ client, namespace }) =>
        print(showJobs(await readCluster(client, namespace, now()), look())),
      ),
    );
  replication
    .command("run")
    .description("run a job now, whatever its schedule says")
    .argument("<job>", "name of the ReplicationJob", objectName)
    .option("-f, --follow", "print its log until it ended; exit code 1 when it failed", false)
    .action(
      withConnection(async ({ client, namespace }, job: string, { follow }: { follow: boolean }) => {
        const asked = await runJob(client, namespace, job, clock);
        print(`${job}: asked to run now\n`);
        if (follow) await followJob(client, asked, "Asked", printerOn(process.stdout), clock);
      }),
    );
  replication
    .command("log")
    .description("the log of a job's last run")
    .argument("<job>", "name of the ReplicationJob", objectName)
    .option("-f, --follow", "go on until the present or next run has ended; exit code 1 when it failed", false)
    .action(
      withConnection(async ({ client, namespace }, job: string, { follow }: { follow: boolean }) => {
        const found = await getJob(client, namespace, job);
        if (follow) await followJob(client, found, "PresentOrNext", printerOn(process.stdout), clock);
        else print(showLog(found));
      }),
    );
}

function addSupport(top: Command): void {
  top
    .command("support-bundle")
    .description("collect objects, events, Leases and logs, without secrets, for somebody who helps you")
    .option("-o, --output <file>", "a .tar.gz file, or else a folder, which must not exist [a name with the time]")
    .option("--system-namespace <name>", "where the chart is installed [where its pods are found]")
    .action(
      withConnection(async ({ client, namespace }, options: { output?: string; systemNamespace?: string }) => {
        const files = await collectBundle(client, { namespace, systemNamespace: options.systemNamespace }, clock);
        const written = await writeBundle(files, options.output ?? bundleName(namespace, now()));
        const problems = files.find(({ path }) => path === "problems.txt")?.text ?? "";
        print(`${written}\n`);
        if (problems !== "none\n") process.stderr.write(`not everything could be read:\n${problems}`);
      }),
    );
}

/** An action of commander that is given the connection first; commander adds itself as the last argument. */
function withConnection<A extends unknown[]>(run: (connection: Connection, ...args: A) => Promise<void>) {
  return async (...given: unknown[]): Promise<void> => {
    const command = given.at(-1) as Command;
    const connection = connectTo(command.optsWithGlobals() as ConnectionFlags);
    await run(connection, ...(given.slice(0, -1) as A));
  };
}

function oneOf<T extends string>(...choices: readonly T[]): (value: string) => T {
  return (value) => {
    const choice = choices.find((one) => one === value);
    if (choice === undefined) throw new InvalidArgumentError(`use ${choices.join(" or ")}.`);
    return choice;
  };
}

function look(): Look {
  const { stdout } = process;
  const colours = palette(wantsColour(stdout, process.env));
  return { colours, width: stdout.isTTY ? stdout.columns : undefined };
}

function now(): number {
  return clock.wallMs();
}

function print(text: string): void {
  process.stdout.write(text);
}
