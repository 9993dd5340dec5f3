import "reflect-metadata";
import type { webcrypto } from "node:crypto";
import { isIP } from "node:net";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralName,
  type JsonName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

/** A certificate and its private key (PKCS 8), both as PEM. */
export interface KeyedCertificate {
  certificate: string;
  key: string;
}

export interface SigningKey {
  publicKey: string;
  privateKey: string;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const YEAR_MS = 365 * 24 * 3_600_000;

/** A new authority, valid for ten years: a lab may be left standing. */
export async function createAuthority(commonName: string): Promise<KeyedCertificate> {
  const keys = await newKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [commonName] }],
    ...validity(10),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign | KeyUsageFlags.digitalSignature, true),
    ],
  });
  return { certificate: certificate.toString("pem"), key: await privatePem(keys) };
}

/** A client certificate: to Kubernetes the common name is the user and each organisation a group. */
export async function issueClientCertificate(
  authority: KeyedCertificate,
  subject: { commonName: string; organizations?: readonly string[] },
): Promise<KeyedCertificate> {
  const name: JsonName = [
    { CN: [subject.commonName] },
    ...(subject.organizations ?? []).map((organization) => ({ O: [organization] })),
  ];
  return issue(authority, name, ExtendedKeyUsage.clientAuth, []);
}

/** A server certificate for these addresses and DNS names. */
export async function issueServerCertificate(
  authority: KeyedCertificate,
  commonName: string,
  altNames: readonly string[],
): Promise<KeyedCertificate> {
  const names = altNames.map((name): JsonGeneralName => ({ type: isIP(name) ? "ip" : "dns", value: name }));
  return issue(authority, [{ CN: [commonName] }], ExtendedKeyUsage.serverAuth, names);
}

/** The key pair that signs service account tokens. */
export async function createSigningKey(): Promise<SigningKey> {
  const keys = await newKeys();
  const spki = await crypto.subtle.exportKey("spki", keys.publicKey);
  return { publicKey: PemConverter.encode(spki, PemConverter.PublicKeyTag), privateKey: await privatePem(keys) };
}

async function issue(
  authority: KeyedCertificate,
  subject: JsonName,
  usage: ExtendedKeyUsage,
  altNames: JsonGeneralName[],
): Promise<KeyedCertificate> {
  const keys = await newKeys();
  const issuer = new X509Certificate(authority.certificate);
  const signingKey = await crypto.subtle.importKey("pkcs8", PemConverter.decodeFirst(authority.key), ALGORITHM, false, [
    "sign",
  ]);
  const certificate = await X509CertificateGenerator.create({
    subject,
    issuer: issuer.subject,
    ...validity(5),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([usage]),
      ...(altNames.length > 0 ? [new SubjectAlternativeNameExtension(altNames)] : []),
    ],
  });
  return { certificate: certificate.toString("pem"), key: await privatePem(keys) };
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function privatePem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  return PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), PemConverter.PrivateKeyTag);
}

/** A minute back, so that a clock that lags a little does not refuse a certificate just made. */
function validity(years: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + years * YEAR_MS) };
}
