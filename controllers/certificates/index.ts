/** The certificate authority of each cluster, and who gets a certificate of it. The only way in. */
export { type CertificatesOptions, runCertificates } from "./controller.ts";
