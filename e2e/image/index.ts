import { createHash } from "node:crypto";
import {
  existsSync,
  globSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { QuorateError } from "../../errors.ts";
import { cacheFolder, type Progress, withLock } from "../tools/index.ts";
import { nodeBinary, programVersion } from "./bundle.ts";
import { makeBaseLayer, makeProgramLayer, USER_ID, withStaging } from "./layers.ts";
import { type ImageConfig, type Layer, packLayer, writeArchive } from "./oci.ts";
import { resolvePackages } from "./packages.ts";

export interface ImageOptions {
  /** Full name with tag [`docker.io/quorate/quorate:VERSION`]: what a pod's `image` must say. */
  tag?: string;
  /** Told what is made [standard error]. */
  progress?: Progress;
}

export interface Image {
  /** An OCI archive (a tar of an image layout). */
  archive: string;
  /** The name containerd gives it on import. */
  name: string;
  layers: readonly Layer[];
}

/**
 * Makes the container image of all parts without a container engine: a few Debian packages, Node and the bundled program.
 * The layers are cached by their content, so a change of the sources costs about two seconds.
 * Everything the program needs lies in /opt/quorate of the image, and runs from a copy of that folder on any host with
 * glibc 2.28 or later and libstdc++.
 *
 * @throws QuorateError `environment` where apt-get, dpkg-deb or GNU tar are missing; `user` for a tag that is none.
 */
export async function buildImage(options: ImageOptions = {}): Promise<Image> {
  const name = fullName(options.tag ?? `quorate/quorate:${programVersion()}`);
  const progress = options.progress ?? ((line) => process.stderr.write(`${line}\n`));
  const lock = join(cacheFolder("image"), "build.lock");
  return withLock(
    lock,
    (holder) => progress(`process ${holder} is making the image; waiting for it`),
    async () => {
      const base = await baseLayer(progress);
      const program = await programLayer();
      const layers = [base, program];
      const key = shortHash(name, RECIPE, JSON.stringify(layers.map(({ digest }) => digest)));
      const archive = join(cacheFolder("image"), `quorate-${key}.tar`);
      if (!existsSync(archive))
        await withStaging((staging) => writeArchive(archive, name, imageConfig(), layers, staging));
      forgetOld([archive, ...layers.flatMap(({ file }) => [file, `${file}.json`])]);
      return { archive, name, layers };
    },
  );
}

/** Part of every key: a change of how the image is made makes it anew. */
const RECIPE = shortHash(
  ...globSync("*.ts", { cwd: import.meta.dirname, exclude: (name) => name.includes(".test.") || name === "command.ts" })
    .sort()
    .map((file) => readFileSync(join(import.meta.dirname, file), "utf8")),
);

async function baseLayer(progress: Progress): Promise<Layer> {
  const packages = await resolvePackages();
  const node = statSync(nodeBinary());
  const key = shortHash(RECIPE, process.version, String(node.size), ...packages.map(({ sha256 }) => sha256));
  return cachedLayer(`base-${key}`, async (root) => {
    progress("making the base layer: Debian packages and Node, once");
    await makeBaseLayer(root, packages);
  });
}

/** Bundling is how we learn whether the sources changed: it takes a second, packing the result another. */
async function programLayer(): Promise<Layer> {
  return withStaging(async (root) => {
    await makeProgramLayer(root);
    const files = globSync("**", { cwd: root, withFileTypes: true }).filter((entry) => entry.isFile());
    const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort();
    const key = shortHash(RECIPE, ...paths.flatMap((path) => [path.slice(root.length), readFileSync(path)]));
    return cachedLayer(`program-${key}`, root);
  });
}

/** A layer from the cache, or packed from a root, which is a folder or what fills an empty one. */
async function cachedLayer(name: string, root: string | ((folder: string) => Promise<void>)): Promise<Layer> {
  const file = join(cacheFolder("image"), `${name}.tar.gz`);
  const description = `${file}.json`;
  if (existsSync(description)) return { ...(JSON.parse(readFileSync(description, "utf8")) as Layer), file };
  const pack = async (folder: string) => packLayer(folder, file);
  const layer =
    typeof root === "string"
      ? await pack(root)
      : await withStaging(async (folder) => {
          await root(folder);
          return pack(folder);
        });
  // Last, so that a layer with a description is a whole one.
  writeFileSync(`${description}.new`, JSON.stringify(layer));
  renameSync(`${description}.new`, description);
  return layer;
}

/** Removes what no build used for a day: each change of the sources leaves an archive of 50 MB. */
function forgetOld(inUse: readonly string[]): void {
  const now = Date.now();
  for (const file of inUse) utimesSync(file, now / 1000, now / 1000);
  for (const name of readdirSync(cacheFolder("image"))) {
    const file = join(cacheFolder("image"), name);
    const usedMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? now;
    if (now - usedMs > 24 * 3_600_000) rmSync(file, { force: true });
  }
}

function imageConfig(): ImageConfig {
  const epoch = Number(process.env.SOURCE_DATE_EPOCH ?? 0);
  return {
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    user: `${USER_ID}:${USER_ID}`,
    entrypoint: ["/opt/quorate/bin/quorate"],
    environment: ["PATH=/opt/quorate/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NODE_ENV=production"],
    created: new Date(epoch * 1000).toISOString(),
    labels: {
      "org.opencontainers.image.title": "quorate",
      "org.opencontainers.image.description":
        "High-availability clusters of Linux hosts with local disks, run from Kubernetes objects",
      "org.opencontainers.image.version": programVersion(),
      "org.opencontainers.image.licenses": "Apache-2.0",
    },
  };
}

/** containerd knows images by full names only: `docker.io/` is what a kubelet puts before a name without a registry. */
function fullName(tag: string): string {
  if (!/^[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/.test(tag)) {
    throw new QuorateError("user", "InvalidTag", `image tag "${tag}": give NAME:TAG, as quorate/quorate:0.1.0`);
  }
  const [first = "", ...rest] = tag.split("/");
  const hasRegistry = rest.length > 0 && /[.:]|^localhost$/.test(first);
  if (hasRegistry) return tag;
  return rest.length > 0 ? `docker.io/${tag}` : `docker.io/library/${tag}`;
}

function shortHash(...parts: (string | Buffer)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(String(part.length)).update(":").update(part);
  return hash.digest("hex").slice(0, 16);
}
