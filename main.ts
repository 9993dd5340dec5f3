/**
 * The one program. Each part is loaded only when it is asked for, so that the keeper never loads a Kubernetes client.
 */
type Part = { summary: string; run: (args: string[]) => Promise<void> };

const parts: Record<string, Part> = {
  controllers: {
    summary: "the controllers of all clusters (Deployment)",
    run: async (a) => (await import("./controllers/main.ts")).main(a),
  },
  agent: {
    summary: "the agent of this host (DaemonSet or systemd unit)",
    run: async (a) => (await import("./agent/main.ts")).main(a),
  },
  keeper: {
    summary: "the watchdog keeper of this host (systemd unit)",
    run: async (a) => (await import("./agent/keeper/main.ts")).main(a),
  },
  "host-shutdown": {
    summary: "what this host's shutdown waits for (systemd unit)",
    run: async () => (await import("./agent/shutdown/main.ts")).main(),
  },
  simulate: {
    summary: "run a scenario file in virtual time",
    run: async (a) => (await import("./simulator/simulate.ts")).main(a),
  },
  search: {
    summary: "look for faults that break a guarantee, in virtual time",
    run: async (a) => (await import("./simulator/search-command.ts")).main(a),
  },
  schedule: {
    summary: "next run times of a schedule",
    run: async (a) => (await import("./controllers/replication/schedule-command.ts")).main(a),
  },
  controlplane: {
    summary: "a real Kubernetes API server on this machine",
    run: async (a) => (await import("./e2e/controlplane/command.ts")).main(a),
  },
  lab: {
    summary: "real hosts on this machine, and faults for them",
    run: async (a) => (await import("./e2e/lab/command.ts")).main(a),
  },
  plugin: { summary: "kubectl quorate", run: async (a) => (await import("./plugin/main.ts")).main(a) },
};

function usage(): string {
  const rows = Object.entries(parts).map(([name, part]) => `  ${name.padEnd(15)}${part.summary}`);
  return `usage: quorate PART [ARGUMENT ...]\n\n${rows.join("\n")}\n\nquorate PART --help says more of a part.\n`;
}

const [name, ...args] = process.argv.slice(2);
const part = name !== undefined && Object.hasOwn(parts, name) ? parts[name] : undefined;
if (part === undefined) {
  const asked = name === undefined || name === "help" || name === "--help" || name === "-h";
  (asked ? process.stdout : process.stderr).write(asked ? usage() : `quorate: no part "${name}"\n\n${usage()}`);
  process.exitCode = asked ? 0 : 64;
} else {
  await part.run(args);
}
