import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { cacheFolder, ensureBinaries, whyNotAvailable } from "../tools/index.ts";
import { buildImage, type Image } from "./index.ts";

const skip = whyNoImage() ?? false;

describe("the container image", { skip }, () => {
  let folder: string;
  let image: Image;
  let root: string;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "quorate-image-test-"));
    image = await buildImage({ tag: "quorate/quorate:test", progress: () => {} });
    const layout = join(folder, "layout");
    root = join(folder, "root");
    for (const made of [layout, root]) mkdirSync(made);
    execFileSync("tar", ["-xf", image.archive, "-C", layout]);
    for (const { digest } of image.layers) execFileSync("tar", ["-xzf", blob(layout, digest), "-C", root]);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("is an OCI layout in which every digest and size holds", async () => {
    const layout = join(folder, "layout");
    assert.deepEqual(json(join(layout, "oci-layout")), { imageLayoutVersion: "1.0.0" });
    const [descriptor] = json(join(layout, "index.json")).manifests;
    assert.equal(descriptor.annotations["io.containerd.image.name"], "docker.io/quorate/quorate:test");
    const manifest = json(blob(layout, descriptor.digest));
    for (const part of [descriptor, manifest.config, ...manifest.layers]) {
      const bytes = readFileSync(blob(layout, part.digest));
      assert.equal(bytes.length, part.size);
      assert.equal(`sha256:${createHash("sha256").update(bytes).digest("hex")}`, part.digest);
    }
    const config = json(blob(layout, manifest.config.digest));
    assert.equal(config.config.User, "65532:65532");
    assert.deepEqual(config.config.Entrypoint, ["/opt/quorate/bin/quorate"]);
    assert.deepEqual(
      config.rootfs.diff_ids,
      image.layers.map(({ diffId }) => diffId),
    );
  });

  it("runs in its own root as the user of the controllers", () => {
    const inImage = (...command: string[]) =>
      execFileSync("chroot", ["--userspec=65532:65532", root, ...command], {
        encoding: "utf8",
        env: { PATH: process.env.PATH },
      });
    assert.match(inImage("/opt/quorate/bin/quorate", "--help"), /^usage: quorate PART/);
    assert.equal(
      inImage("/opt/quorate/bin/quorate", "schedule", "--after", "0", "-n", "2", "12:05"),
      "43500\n129900\n",
    );
    assert.equal(inImage("/bin/sh", "-c", "id -u"), "65532\n");
    assert.match(inImage("/bin/sh", "-c", "nsenter --help 2>&1"), /mount namespace/);
  });

  it("says that parts for development are not in it", () => {
    assert.throws(
      () => execFileSync("chroot", [root, "/opt/quorate/bin/quorate", "lab"], { stdio: "pipe" }),
      (error: { status: number; stderr: Buffer }) =>
        error.status === 64 && /only in a checkout/.test(error.stderr.toString()),
    );
  });

  it("loads the library for ioctl", () => {
    const program = `import koffi from "koffi"; console.log(koffi.load("libc.so.6").func("int getppid()")())`;
    const printed = execFileSync(
      "chroot",
      [root, "/bin/sh", "-c", 'cd /opt/quorate/lib && exec ../bin/node --input-type=module --eval "$0"', program],
      { encoding: "utf8" },
    );
    assert.equal(printed, `${process.pid}\n`);
  });

  it("runs on this host from a copy of /opt/quorate, also through a symbolic link", () => {
    const copy = join(folder, "elsewhere", "quorate");
    cpSync(join(root, "opt", "quorate"), copy, { recursive: true });
    const link = join(folder, "quorate");
    symlinkSync(join(copy, "bin", "quorate"), link);
    assert.match(execFileSync(link, ["--help"], { encoding: "utf8" }), /^usage: quorate PART/);
  });

  it("is the same bytes when it is made again from nothing", async () => {
    const realCache = process.env.QUORATE_CACHE;
    const packages = cacheFolder("debian");
    process.env.QUORATE_CACHE = join(folder, "cache");
    try {
      symlinkSync(packages, join(cacheFolder(), "debian"));
      const again = await buildImage({ tag: "quorate/quorate:test", progress: () => {} });
      assert.notEqual(again.archive, image.archive);
      assert.equal(await sha256(again.archive), await sha256(image.archive));
    } finally {
      if (realCache === undefined) delete process.env.QUORATE_CACHE;
      else process.env.QUORATE_CACHE = realCache;
    }
  });

  it("is taken by containerd under the name pods give", {
    skip: whyNotAvailable(["containerd", "ctr"]) ?? false,
  }, async () => {
    const { containerd, ctr } = await ensureBinaries(["containerd", "ctr"]);
    const socket = join(folder, "containerd.sock");
    const config = join(folder, "containerd.toml");
    const lines = [
      "version = 3",
      `root = "${folder}/containerd"`,
      `state = "${folder}/state"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]',
      `[grpc]`,
      `address = "${socket}"`,
    ];
    writeFileSync(config, `${lines.join("\n")}\n`);
    const daemon = spawn(containerd, ["--config", config, "--log-level", "error"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    daemon.stderr.on("data", (chunk) => {
      said += chunk;
    });
    try {
      for (const deadline = Date.now() + 20_000; !existsSync(socket) && Date.now() < deadline; ) await delay(50);
      assert.ok(existsSync(socket), `containerd does not come up: ${said}`);
      const run = (...args: string[]) =>
        execFileSync(ctr, ["--address", socket, "--namespace", "k8s.io", "images", ...args], { encoding: "utf8" });
      run("import", "--no-unpack", image.archive);
      assert.match(run("check"), /docker\.io\/quorate\/quorate:test .* complete \(3\/3\)/);
    } finally {
      daemon.kill("SIGKILL");
    }
  });
});

describe("the name of an image", () => {
  it("is refused when it has no tag, with an example of one that is right", async () => {
    await assert.rejects(buildImage({ tag: "quorate" }), /give NAME:TAG, as quorate\/quorate:0\.1\.0/);
    await assert.rejects(buildImage({ tag: "--evil:1" }), /give NAME:TAG/);
  });
});

function blob(layout: string, digest: string): string {
  return join(layout, "blobs", digest.replace(":", "/"));
}

// biome-ignore lint/suspicious/noExplicitAny: documents of another specification, checked field by field
function json(file: string): any {
  return JSON.parse(readFileSync(file, "utf8"));
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

function whyNoImage(): string | undefined {
  if (process.getuid?.() !== 0) return "chroot needs root";
  const missing = ["apt-get", "dpkg-deb", "tar"].filter(
    (tool) => !existsSync(`/usr/bin/${tool}`) && !existsSync(`/bin/${tool}`),
  );
  return missing.length > 0 ? `${missing.join(", ")} not found: the image is made from Debian packages` : undefined;
}
