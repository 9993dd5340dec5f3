import { cpSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { build, type Plugin } from "esbuild";

const repository = join(import.meta.dirname, "../..");

/** Parts of the program that only make sense in a checkout: they build and start things for tests. */
const ONLY_IN_CHECKOUT = "e2e";

/**
 * Bundles main.ts into `folder` as ES modules, one chunk a part, so that the keeper still loads little, with koffi and its
 * prebuilt library beside it. The result depends on the sources alone.
 */
export async function bundleProgram(folder: string): Promise<void> {
  await build({
    entryPoints: { quorate: join(repository, "main.ts") },
    outdir: join(folder, "lib"),
    absWorkingDir: repository,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    chunkNames: "[name]-[hash]",
    outExtension: { ".js": ".mjs" },
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "external",
    external: ["koffi"],
    // CommonJS packages inside an ES module call require() for Node's own modules.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    plugins: [checkoutParts],
    logLevel: "silent",
  });
  copyKoffi(join(folder, "node_modules"));
}

/** Replaces each part that only a checkout has by one that says so. */
const checkoutParts: Plugin = {
  name: "checkout-parts",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^\./ }, ({ path, resolveDir }) => {
      const inside = relative(repository, join(resolveDir, path));
      return inside.startsWith(`${ONLY_IN_CHECKOUT}/`) ? { path: inside, namespace: "checkout" } : undefined;
    });
    onLoad({ filter: /.*/, namespace: "checkout" }, () => ({
      contents: `export async function main() {
        process.stderr.write("quorate: this part is for development and only in a checkout of the sources\\n");
        process.exitCode = 64;
      }`,
    }));
  },
};

/** koffi finds its library relative to itself, so it stays outside of the bundle; only what it loads at run time is copied. */
function copyKoffi(modules: string): void {
  const koffi = join(repository, "node_modules", "koffi");
  const prebuilt = `@koromix/koffi-linux-${process.arch}`;
  const loaded = globSync("{package.json,LICENSE.txt,index.{js,cjs},src/koffi/**/*.{js,cjs}}", { cwd: koffi });
  for (const file of loaded) copy(join(koffi, file), join(modules, "koffi", file));
  copy(join(koffi, "..", prebuilt), join(modules, prebuilt));
}

function copy(from: string, to: string): void {
  if (!existsSync(from)) throw new Error(`${from} is missing; koffi changed its layout`);
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true, filter: (path) => !path.includes("musl") });
}

/** Name and version of the program, from package.json. */
export function programVersion(): string {
  return (JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as { version: string }).version;
}

/** The Node binary that `npm ci` brought: the runtime of every part. */
export function nodeBinary(): string {
  return join(repository, "node_modules", "node", "bin", "node");
}

/** Its licence, which asks to be passed on with it. */
export function nodeLicence(): string {
  return join(repository, "node_modules", "node", "node_modules", `node-linux-${process.arch}`, "LICENSE");
}

/** Files beside the bundle: what it is, its licence, and the command that runs it from wherever the folder lies. */
export function writeWrapper(folder: string): void {
  mkdirSync(join(folder, "bin"), { recursive: true });
  writeFileSync(
    join(folder, "package.json"),
    `${JSON.stringify({ name: "quorate", version: programVersion(), type: "module" })}\n`,
  );
  writeFileSync(join(folder, "bin", "quorate"), WRAPPER, { mode: 0o755 });
  cpSync(join(repository, "LICENSE"), join(folder, "LICENSE"));
}

const WRAPPER = `#!/bin/sh
# Runs Quorate with the Node beside it. The folder may lie anywhere and be reached through a symbolic link.
bin=$(dirname "$(readlink -f "$0")")
exec "$bin/node" --disable-warning=ExperimentalWarning "$bin/../lib/quorate.mjs" "$@"
`;
