import { webcrypto } from "node:crypto";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

const CURVE = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
/** A clock that is a little behind must not refuse a certificate that was just made. */
const BACKDATE_MS = 300_000;
export const CERTIFICATE_DAYS = 90;
const AUTHORITY_DAYS = 3_650;

/** The certificate authority of one cluster, as PEM. The key is a secret of the controllers. */
export interface Authority {
  readonly cert: string;
  readonly key: string;
}

export async function newAuthority(namespace: string, wallMs: number): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [`Quorate cluster ${namespace}`] }],
    serialNumber: serial(),
    notBefore: new Date(wallMs - BACKDATE_MS),
    notAfter: new Date(wallMs + AUTHORITY_DAYS * DAY_MS),
    keys,
    signingAlgorithm: CURVE,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false),
    ],
  });
  return {
    cert: cert.toString("pem"),
    key: x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY"),
  };
}

/** What an agent asks for, as its request says and its signature proves. */
export interface Asked {
  readonly node: string;
  readonly namespace: string;
}

export interface Unsound {
  readonly problem: string;
}

/** Whose identity the request asks for, or what is wrong with it. */
export async function readRequest(pem: string): Promise<Asked | Unsound> {
  let request: x509.Pkcs10CertificateRequest;
  try {
    request = new x509.Pkcs10CertificateRequest(pem);
    if (!(await request.verify())) return { problem: "the request is not signed with the key that it holds" };
  } catch {
    return { problem: "the request is no PKCS #10 request that can be read" };
  }
  const { name, namedCurve } = request.publicKey.algorithm as { name: string; namedCurve?: string };
  if (name !== CURVE.name || namedCurve !== CURVE.namedCurve) {
    return { problem: `the key is of ${namedCurve ?? name}; agents have keys of ECDSA on P-256` };
  }
  const [node, ...otherNodes] = request.subjectName.getField("CN");
  const [organization, ...others] = request.subjectName.getField("O");
  const namespace = /^quorate:([a-z0-9]([-a-z0-9]*[a-z0-9])?)$/.exec(organization ?? "")?.[1];
  if (node === undefined || otherNodes.length > 0 || !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(node)) {
    return { problem: "the subject needs exactly one CN, the name of the node" };
  }
  if (others.length > 0 || namespace === undefined) {
    return { problem: "the subject needs exactly one O, quorate:<namespace>" };
  }
  return { node, namespace };
}

/** Signs for the node, with names and uses that are ours, not the request's: of it, only the public key is taken. */
export async function sign(
  authority: Authority,
  pem: string,
  asked: Asked,
  addresses: readonly string[],
  wallMs: number,
): Promise<string> {
  const request = new x509.Pkcs10CertificateRequest(pem);
  const issuer = new x509.X509Certificate(authority.cert);
  const signingKey = await webcrypto.subtle.importKey(
    "pkcs8",
    x509.PemConverter.decodeFirst(authority.key),
    CURVE,
    false,
    ["sign"],
  );
  const publicKey = await request.publicKey.export();
  const cert = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [asked.node] }, { O: [`quorate:${asked.namespace}`] }],
    issuer: issuer.subject,
    serialNumber: serial(),
    notBefore: new Date(wallMs - BACKDATE_MS),
    notAfter: new Date(Math.min(wallMs + CERTIFICATE_DAYS * DAY_MS, issuer.notAfter.getTime())),
    publicKey,
    signingKey,
    signingAlgorithm: CURVE,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]),
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: asked.node },
        ...addresses.map((value) => ({ type: "ip" as const, value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer, false),
    ],
  });
  return cert.toString("pem");
}

/** 127 random bits, never negative. */
function serial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0] ?? 0) & 0x7f;
  return Buffer.from(bytes).toString("hex");
}
