/**
 * This node's certificate for mutual TLS with the other agents of its cluster. The private key is made on this host and never
 * leaves it; the certificate is asked for with a CertificateSigningRequest that the controllers sign.
 */
export { Identity, type IdentityOptions } from "./identity.ts";
