import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../tools/index.ts";
import { run } from "./run.ts";

const BUSYBOX = "/usr/bin/busybox";
const NAME = "docker.io/library/pause:lab";

/** It is the first process of its namespace, which no signal ends unless it asks for it; a host's shutdown would wait for it. */
const ENTRYPOINT = ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait; done"];

/**
 * The archive of the image that holds a pod's namespaces: a busybox that sleeps. Kubelets would fetch it from a registry,
 * which a lab does not have. The name is that of config.toml of containerd.
 */
export async function ensurePauseImage(): Promise<string> {
  const key = createHash("sha256")
    .update(readFileSync(BUSYBOX))
    .update(ENTRYPOINT.join(" "))
    .digest("hex")
    .slice(0, 12);
  const archive = join(cacheFolder("lab-programs"), `pause-${key}.tar`);
  if (existsSync(archive)) return archive;
  const work = mkdtempSync(join(cacheFolder("lab-programs"), "pause-"));
  try {
    mkdirSync(join(work, "root/bin"), { recursive: true });
    copyFileSync(BUSYBOX, join(work, "root/bin/busybox"));
    const tar = ["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--create"];
    await run([...tar, `--file=${join(work, "layer.tar")}`, `--directory=${join(work, "root")}`, "bin"]);
    const layer = createHash("sha256")
      .update(readFileSync(join(work, "layer.tar")))
      .digest("hex");
    const config = {
      architecture: "amd64",
      os: "linux",
      config: { Entrypoint: ENTRYPOINT },
      rootfs: { type: "layers", diff_ids: [`sha256:${layer}`] },
    };
    const manifest = [{ Config: "config.json", RepoTags: [NAME], Layers: ["layer.tar"] }];
    writeFileSync(join(work, "config.json"), JSON.stringify(config));
    writeFileSync(join(work, "manifest.json"), JSON.stringify(manifest));
    const files = ["manifest.json", "config.json", "layer.tar"];
    await run([...tar, `--file=${join(work, "pause.tar")}`, `--directory=${work}`, ...files]);
    renameSync(join(work, "pause.tar"), archive);
    return archive;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
