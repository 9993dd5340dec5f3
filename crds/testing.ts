/**
 * For the tests of this folder: a real API server that serves the API, and manifests applied to it with kubectl.
 */
import { type ControlPlane, startControlPlane } from "../e2e/controlplane/index.ts";
import { QuorateError } from "../errors.ts";
import { API_VERSION } from "./index.ts";
import type { Manifest, Row } from "./testdata/table.ts";

/** An API server that serves all kinds. The caller stops it. */
export async function startApi(): Promise<ControlPlane> {
  const controlPlane = await startControlPlane();
  await controlPlane.kubectl(["apply", "--server-side", "-f", import.meta.dirname]);
  await controlPlane.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
  return controlPlane;
}

/** What `kubectl` says when it fails; undefined when it succeeds. */
export async function complaint(controlPlane: ControlPlane, args: string[], input = ""): Promise<string | undefined> {
  try {
    await controlPlane.kubectl(args, { input });
    return undefined;
  } catch (error) {
    if (!(error instanceof QuorateError)) throw error;
    const said = error.message.slice(`kubectl ${args.join(" ")}: `.length);
    return said.replaceAll(/ +$/gm, "");
  }
}

/**
 * What kubectl says against applying the manifest to what `before` made; undefined when it is accepted. It happens in a
 * namespace that no other row uses.
 */
export async function tryRow(controlPlane: ControlPlane, row: Row, namespace: string): Promise<string | undefined> {
  if (row.before !== undefined) {
    await controlPlane.kubectl(["apply", "-f", "-"], { input: text(row.before, namespace) });
  }
  return complaint(controlPlane, ["apply", "--dry-run=server", "-f", "-"], text(row.manifest, namespace));
}

/** Makes all the namespaces with one command. */
export async function createNamespaces(controlPlane: ControlPlane, names: string[]): Promise<void> {
  const items = names.map((name) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } }));
  const input = JSON.stringify({ apiVersion: "v1", kind: "List", items });
  await controlPlane.kubectl(["create", "-f", "-"], { input });
}

function text(manifest: Manifest, namespace: string): string {
  return JSON.stringify({ apiVersion: API_VERSION, ...manifest, metadata: { ...manifest.metadata, namespace } });
}
