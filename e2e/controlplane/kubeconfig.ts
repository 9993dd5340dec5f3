import { writeFileSync } from "node:fs";
import { dump } from "js-yaml";
import type { KeyedCertificate } from "./pki.ts";

/** Writes a kubeconfig with the certificates inside it, readable by its owner alone. */
export function writeKubeconfig(
  file: string,
  cluster: { name: string; url: string; authority: string },
  user: KeyedCertificate,
): void {
  const base64 = (pem: string) => Buffer.from(pem).toString("base64");
  const content = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: cluster.name, cluster: { server: cluster.url, "certificate-authority-data": base64(cluster.authority) } },
    ],
    users: [
      {
        name: cluster.name,
        user: { "client-certificate-data": base64(user.certificate), "client-key-data": base64(user.key) },
      },
    ],
    contexts: [{ name: cluster.name, context: { cluster: cluster.name, user: cluster.name } }],
    "current-context": cluster.name,
  };
  writeFileSync(file, dump(content), { mode: 0o600 });
}
