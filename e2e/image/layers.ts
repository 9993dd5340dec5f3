import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundleProgram, nodeBinary, nodeLicence, writeWrapper } from "./bundle.ts";
import { controlParagraphs, type DebianPackage, unpackPackages } from "./packages.ts";

/** The user controllers run as; numbers, so that Kubernetes can check `runAsNonRoot`. */
export const USER_ID = 65532;

/** What the shell script in the image, probes and a person with `kubectl exec` use. */
const APPLETS = [
  "sh",
  "cat",
  "cp",
  "dirname",
  "env",
  "id",
  "kill",
  "ln",
  "ls",
  "mkdir",
  "mv",
  "ps",
  "readlink",
  "rm",
  "sleep",
  "tar",
  "wget",
];

/** The layer below: C and C++ libraries, busybox, Node. Changes only with these. */
export async function makeBaseLayer(root: string, packages: readonly DebianPackage[]): Promise<void> {
  for (const folder of [
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "etc/ssl/certs",
    "proc",
    "sys",
    "dev",
    "run",
    "root",
    "var/lib/dpkg/status.d",
    "opt/quorate/bin",
  ]) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  for (const merged of ["bin", "sbin", "lib", "lib64"]) symlinkSync(`usr/${merged}`, join(root, merged));
  await unpackPackages(packages, root);
  for (const applet of APPLETS) symlinkSync("busybox", join(root, "usr/bin", applet));
  for (const { name, text } of await controlParagraphs(packages))
    writeFileSync(join(root, "var/lib/dpkg/status.d", name), text);
  symlinkSync("../usr/lib/os-release", join(root, "etc/os-release"));
  writeFileSync(
    join(root, "etc/ssl/certs/ca-certificates.crt"),
    authorities(join(root, "usr/share/ca-certificates/mozilla")),
  );
  rmSync(join(root, "usr/share/ca-certificates"), { recursive: true });
  writeFileSync(
    join(root, "etc/passwd"),
    `root:x:0:0:root:/root:/bin/sh\nquorate:x:${USER_ID}:${USER_ID}:quorate:/:/bin/false\n`,
  );
  writeFileSync(join(root, "etc/group"), `root:x:0:\nquorate:x:${USER_ID}:\n`);
  mkdirSync(join(root, "tmp"), { recursive: true });
  chmodSync(join(root, "tmp"), 0o1777);
  copyFileSync(nodeBinary(), join(root, "opt/quorate/bin/node"));
  chmodSync(join(root, "opt/quorate/bin/node"), 0o755);
  copyFileSync(nodeLicence(), join(root, "opt/quorate/bin/node.LICENSE"));
}

/** The layer above: the program alone, a few megabytes. */
export async function makeProgramLayer(root: string): Promise<void> {
  const folder = join(root, "opt/quorate");
  mkdirSync(folder, { recursive: true });
  await bundleProgram(folder);
  writeWrapper(folder);
}

/** Runs `work` with a new folder with the usual permissions, and removes it afterwards. */
export async function withStaging<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-image-"));
  chmodSync(folder, 0o755);
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function authorities(folder: string): string {
  return readdirSync(folder)
    .sort()
    .map((file) => readFileSync(join(folder, file), "utf8"))
    .join("");
}
