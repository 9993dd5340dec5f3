import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, mkdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { execa } from "execa";

/** A layer on disk: its compressed file, and the digests an image names it by. */
export interface Layer {
  file: string;
  digest: string;
  /** Digest of the tar inside. */
  diffId: string;
  size: number;
  uncompressedSize: number;
}

export interface ImageConfig {
  architecture: string;
  user: string;
  entrypoint: string[];
  environment: string[];
  labels: Record<string, string>;
  /** RFC 3339; fixed, for the same image of the same sources. */
  created: string;
}

/** Packs a root into a layer: sorted, without times, owned by root, so that the same content is the same digest. */
export async function packLayer(root: string, file: string): Promise<Layer> {
  const tar = `${file}.tar`;
  await packTar(root, tar);
  await pipeline(createReadStream(tar), createGzip({ level: 6 }), createWriteStream(file));
  const layer = {
    file,
    digest: await digestOf(file),
    diffId: await digestOf(tar),
    size: statSync(file).size,
    uncompressedSize: statSync(tar).size,
  };
  await execa("rm", ["--force", tar]);
  return layer;
}

/** Writes an OCI image layout of these layers (lowest first) as one tar: what `ctr images import` and `skopeo` read. */
export async function writeArchive(
  archive: string,
  name: string,
  config: ImageConfig,
  layers: readonly Layer[],
  staging: string,
): Promise<void> {
  const blobs = join(staging, "blobs", "sha256");
  mkdirSync(blobs, { recursive: true });
  for (const { file, digest } of layers) await execa("cp", ["--reflink=auto", file, join(blobs, hex(digest))]);
  const addBlob = (mediaType: string, content: unknown) => {
    const bytes = Buffer.from(JSON.stringify(content));
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    writeFileSync(join(blobs, hex(digest)), bytes);
    return { mediaType, digest, size: bytes.length };
  };

  const { architecture, created } = config;
  const configBlob = addBlob("application/vnd.oci.image.config.v1+json", {
    architecture,
    os: "linux",
    created,
    config: {
      User: config.user,
      Entrypoint: config.entrypoint,
      Env: config.environment,
      WorkingDir: "/",
      Labels: config.labels,
    },
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map(() => ({ created, created_by: "quorate" })),
  });
  const manifest = addBlob("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: configBlob,
    layers: layers.map(({ digest, size }) => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      digest,
      size,
    })),
    annotations: config.labels,
  });
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      {
        ...manifest,
        platform: { architecture, os: "linux" },
        annotations: {
          "io.containerd.image.name": name,
          "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
        },
      },
    ],
  };
  writeFileSync(join(staging, "index.json"), JSON.stringify(index));
  writeFileSync(join(staging, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  await packTar(staging, `${archive}.new`);
  renameSync(`${archive}.new`, archive);
}

async function packTar(folder: string, file: string): Promise<void> {
  const reproducible = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"];
  const { stdout } = await execa("find", [folder, "-mindepth", "1", "-maxdepth", "1", "-printf", "%P\n"], {
    timeout: 10_000,
  });
  await execa(
    "tar",
    ["--create", `--file=${file}`, `--directory=${folder}`, ...reproducible, ...stdout.split("\n").sort()],
    { timeout: 120_000 },
  );
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return `sha256:${hash.digest("hex")}`;
}

function hex(digest: string): string {
  return digest.slice("sha256:".length);
}
