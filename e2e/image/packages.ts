import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { QuorateError } from "../../errors.ts";
import { cacheFolder } from "../tools/index.ts";

/** A Debian package as the package index of this machine names it. */
export interface DebianPackage {
  file: string;
  sha256: string;
}

/** What Node needs to run, a shell with nsenter, authorities, and the words on where it comes from (os-release, licences). */
const PACKAGES = [
  "base-files",
  "busybox-static",
  "ca-certificates",
  "libc6",
  "libgcc-s1",
  "libpcre2-8-0",
  "libselinux1",
  "libstdc++6",
  // Its nsenter: that of busybox runs its own applet instead of the host's command of that name.
  "util-linux",
];

/** Not needed to run: documentation but the licences, character sets of iconv, hooks of package tools. */
const LEFT_OUT = [
  "./usr/share/man",
  "./usr/share/lintian",
  "./usr/share/bug",
  "*/gconv",
  "./usr/share/doc/*/[!c]*",
  "./usr/share/doc/*/changelog*",
  "./etc",
  "./var",
  "./usr/share/base-files",
  "./usr/share/gcc",
  "./usr/share/bash-completion",
  // Of util-linux, nsenter alone: the rest would need more libraries.
  "./usr/bin/[!n]*",
  "./usr/bin/namei",
  "./usr/sbin",
  "./sbin",
  "./bin/[!b]*",
];

/**
 * The packages of the image in the version this machine's package index has today, sorted.
 * @throws QuorateError `environment` on a machine without apt or with empty package lists.
 */
export async function resolvePackages(): Promise<DebianPackage[]> {
  let listed: string;
  try {
    listed = (await execa("apt-get", ["download", "--print-uris", ...PACKAGES], { timeout: 60_000 })).stdout;
  } catch (error) {
    throw new QuorateError(
      "environment",
      "NoPackages",
      `the image is made from Debian packages, which apt-get on this machine does not know (${String(error).split("\n")[0]}); run apt-get update on Debian or Ubuntu`,
    );
  }
  const packages = [...listed.matchAll(/^'[^']+' (\S+) \d+ SHA256:([0-9a-f]{64})$/gm)].map(
    ([, file = "", sha256 = ""]) => ({ file, sha256 }),
  );
  if (packages.length !== PACKAGES.length) {
    throw new QuorateError(
      "environment",
      "NoPackages",
      `apt-get names ${packages.length} of the ${PACKAGES.length} packages of the image; run apt-get update`,
    );
  }
  return packages.sort((a, b) => (a.file < b.file ? -1 : 1));
}

/** Unpacks packages into a root with merged /usr, downloading those that are not in the cache. apt checks their signature chain. */
export async function unpackPackages(packages: readonly DebianPackage[], root: string): Promise<void> {
  const files = await downloaded(packages);
  for (const file of files) {
    const unpack = execa(
      "tar",
      [
        "--extract",
        "--directory",
        root,
        "--keep-directory-symlink",
        "--no-same-owner",
        ...LEFT_OUT.map((path) => `--exclude=${path}`),
      ],
      { timeout: 60_000 },
    );
    await execa("dpkg-deb", ["--fsys-tarfile", file], { timeout: 60_000, encoding: "buffer", buffer: false }).pipe(
      unpack,
    );
  }
}

/** The control paragraph of each package: scanners for vulnerabilities read them in the image. */
export async function controlParagraphs(packages: readonly DebianPackage[]): Promise<{ name: string; text: string }[]> {
  const files = await downloaded(packages);
  return Promise.all(
    files.map(async (file) => {
      const { stdout } = await execa("dpkg-deb", ["--field", file], { timeout: 10_000 });
      return { name: /^Package: (\S+)$/m.exec(stdout)?.[1] ?? file, text: `${stdout}\n` };
    }),
  );
}

async function downloaded(packages: readonly DebianPackage[]): Promise<string[]> {
  const paths = packages.map(({ sha256 }) => join(cacheFolder("debian"), `${sha256}.deb`));
  const have = new Set(readdirSync(cacheFolder("debian")));
  if (packages.every(({ sha256 }) => have.has(`${sha256}.deb`))) return paths;
  const folder = mkdtempSync(join(cacheFolder("debian"), "download-"));
  try {
    mkdirSync(folder, { recursive: true });
    await execa("apt-get", ["download", "--quiet", ...PACKAGES], { cwd: folder, timeout: 600_000 });
    for (const { file, sha256 } of packages)
      renameSync(join(folder, file), join(cacheFolder("debian"), `${sha256}.deb`));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return paths;
}
