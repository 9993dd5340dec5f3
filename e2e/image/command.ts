import { statSync } from "node:fs";
import { parseArgs } from "node:util";
import { QuorateError } from "../../errors.ts";
import { buildImage } from "./index.ts";

const USAGE = `usage: node e2e/image/command.ts [--tag NAME:TAG] [--print-archive]

Makes the container image as an OCI archive, without a container engine.

  --tag NAME:TAG    its name [quorate/quorate:VERSION]
  --print-archive   print the path of the archive and nothing else
`;

const OPTIONS = {
  tag: { type: "string" },
  "print-archive": { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

try {
  const { values } = parseArgs({ options: OPTIONS });
  if (values.help) console.log(USAGE);
  else await make(values.tag, values["print-archive"]);
} catch (error) {
  if (!(error instanceof QuorateError) && !(error instanceof TypeError)) throw error;
  process.stderr.write(`image: ${error.message}\n`);
  process.exitCode = 1;
}

async function make(tag: string | undefined, pathOnly: boolean): Promise<void> {
  const started = Date.now();
  const { archive, name, layers } = await buildImage(tag === undefined ? {} : { tag });
  if (pathOnly) return console.log(archive);
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  const sizes = layers.map(
    ({ size, uncompressedSize }) => `${megabytes(size)} (${megabytes(uncompressedSize)} unpacked)`,
  );
  console.log(
    `${name}\n  ${archive}  ${megabytes(statSync(archive).size)}, made in ${((Date.now() - started) / 1000).toFixed(1)} s`,
  );
  console.log(`  base ${sizes[0]}, program ${sizes[1]}`);
  console.log(`\n  containerd: ctr --namespace k8s.io images import ${archive}`);
}
