import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import type { TlsIdentity } from "../index.ts";

/** A certificate authority for tests, which vouches for any name. */
export async function testAuthority(): Promise<{ identity(node: string): Promise<TlsIdentity> }> {
  x509.cryptoProvider.set(globalThis.crypto);
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  const validity = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
  const keys = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const authorityKeys = await keys();
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=test authority",
    keys: authorityKeys,
    signingAlgorithm: algorithm,
    ...validity,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  let serial = 1;
  return {
    identity: async (node) => {
      const own = await keys();
      serial += 1;
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: serial.toString(16).padStart(4, "0"),
        subject: `CN=${node}`,
        issuer: authority.subject,
        signingKey: authorityKeys.privateKey,
        publicKey: own.publicKey,
        signingAlgorithm: algorithm,
        ...validity,
      });
      const key = x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", own.privateKey), "PRIVATE KEY");
      return { ca: authority.toString("pem"), cert: certificate.toString("pem"), key };
    },
  };
}
