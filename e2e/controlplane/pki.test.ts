import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { describe, it } from "node:test";
import { createAuthority, issueClientCertificate, issueServerCertificate } from "./pki.ts";

describe("certificates of a control plane", () => {
  it("name the user and the groups, and belong to their key and authority", async () => {
    const authority = await createAuthority("test");
    const issued = await issueClientCertificate(authority, {
      commonName: "system:node:n1",
      organizations: ["system:nodes", "b,c=d"],
    });
    const certificate = new X509Certificate(issued.certificate);
    assert.equal(certificate.subject, "CN=system:node:n1\nO=system:nodes\nO=b\\,c=d");
    assert.equal(certificate.checkPrivateKey(createPrivateKey(issued.key)), true);
    assert.equal(certificate.verify(new X509Certificate(authority.certificate).publicKey), true);
    assert.equal(certificate.ca, false);
  });

  it("hold for each address and name of the server, and no other", async () => {
    const issued = await issueServerCertificate(await createAuthority("test"), "server", [
      "10.6.0.254",
      "fd00::1",
      "api.lab",
    ]);
    const certificate = new X509Certificate(issued.certificate);
    assert.ok(certificate.checkIP("10.6.0.254"));
    assert.ok(certificate.checkIP("fd00::1"));
    assert.ok(certificate.checkHost("api.lab"));
    assert.equal(certificate.checkIP("10.6.0.253"), undefined);
    assert.equal(certificate.checkHost("other.lab"), undefined);
  });
});
