import type { PeerCertificate, TLSSocket } from "node:tls";
import { QuorateError } from "../../errors.ts";

/** PEM texts. The certificate's common name is the node's name; all nodes of a cluster share the authority. */
export interface TlsIdentity {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** What both ends set: TLS 1.3 alone, and a certificate of the cluster's own authority on either side. */
export const TLS_VERSION = { minVersion: "TLSv1.3", maxVersion: "TLSv1.3" } as const;

/** The node at the other end. Only after the handshake verified its certificate. Throws `NotAMember`. */
export function peerNode(socket: TLSSocket): string {
  const node = socket.authorized ? commonName(socket.getPeerCertificate()) : undefined;
  if (node === undefined) {
    throw new QuorateError(
      "environment",
      "NotAMember",
      "the peer has no certificate of this cluster that names a node",
    );
  }
  return node;
}

/** The common name, if there is exactly one. */
export function commonName(certificate: PeerCertificate): string | undefined {
  const name: unknown = certificate.subject?.CN;
  return typeof name === "string" && name !== "" ? name : undefined;
}
