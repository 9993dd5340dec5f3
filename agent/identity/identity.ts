import { webcrypto } from "node:crypto";
import { mkdir } from "node:fs/promises";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, type KubeApi } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import type { Host } from "../host/index.ts";
import type { TlsIdentity } from "../transfer/index.ts";

export interface IdentityOptions {
  readonly client: KubeApi;
  readonly host: Host;
  readonly clock: Clock;
  readonly log: Logger;
  readonly node: string;
  readonly namespace: string;
}

export const SIGNER = "quorate.dev/agent";
const CURVE = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const SIGN_WITHIN_MS = 20_000;
const ASK_EVERY_MS = 300;

/** The certificate is renewed when a third of its time is left. */
const RENEW_AT = 2 / 3;

interface Held {
  readonly identity: TlsIdentity;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly authority: string;
}

/** A request that was made and has no answer yet. */
interface Pending {
  readonly name: string;
  readonly keyPem: string;
}

/** One at a time; kept on the host, so that a restarted agent needs no new one. */
export class Identity {
  readonly #options: IdentityOptions;
  #held: Held | undefined;
  /** Asked for in vain so far: it is waited for again, so that an absent controller does not find a heap of requests. */
  #pending: Pending | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: IdentityOptions) {
    this.#options = options;
  }

  /**
   * The identity to use now. Asks for one when there is none, when a third of its time is left, or when the cluster has
   * another authority.
   * @param addresses the node's own, for the certificate; may be empty where one is held
   * @throws QuorateError NoAuthority, NotSigned (transient)
   */
  current(addresses: readonly string[]): Promise<{ identity: TlsIdentity; renewed: boolean }> {
    const turn = this.#turn.then(() => this.#current(addresses));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #current(addresses: readonly string[]): Promise<{ identity: TlsIdentity; renewed: boolean }> {
    const { client, namespace, host, clock, log, node } = this.#options;
    const config = await client.get(CONFIG_MAPS, { namespace, name: "quorate-ca" });
    const authority = config?.data?.["ca.crt"];
    if (authority === undefined) {
      throw new QuorateError(
        "transient",
        "NoAuthority",
        `ConfigMap "quorate-ca" in namespace "${namespace}" is not there yet; the controllers make it`,
      );
    }
    this.#held ??= await this.#load(authority);
    const held = this.#held;
    const now = clock.wallMs();
    if (
      held !== undefined &&
      held.authority === authority &&
      now < held.notBefore + (held.notAfter - held.notBefore) * RENEW_AT
    ) {
      return { identity: held.identity, renewed: false };
    }
    this.#pending ??= await this.#ask(addresses);
    const { name, keyPem } = this.#pending;
    const cert = await this.#awaitAnswer(name);
    this.#pending = undefined;
    const folder = this.#folder;
    await mkdir(host.path(folder), { recursive: true, mode: 0o700 });
    await host.writeFileAtomic(`${folder}/identity.json`, JSON.stringify({ key: keyPem, cert, authority }), {
      mode: 0o600,
    });
    log.info({ node }, "a certificate for transfers was issued");
    this.#held = holding(keyPem, cert, authority);
    return { identity: this.#held.identity, renewed: true };
  }

  get #folder(): string {
    return `/var/lib/quorate/identity/${this.#options.namespace}`;
  }

  async #load(authority: string): Promise<Held | undefined> {
    const stored = await this.#options.host.readFile(`${this.#folder}/identity.json`);
    if (stored === undefined) return undefined;
    try {
      const {
        key,
        cert,
        authority: of,
      } = JSON.parse(stored.toString()) as { key: string; cert: string; authority: string };
      return of === authority ? holding(key, cert, of) : undefined;
    } catch {
      // A broken file is no identity; a new one takes its place.
      return undefined;
    }
  }

  /** Makes a key and asks for a certificate of it. The key stays here. */
  async #ask(addresses: readonly string[]): Promise<Pending> {
    const { client, clock, node, namespace } = this.#options;
    const keys = await webcrypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
    const request = await x509.Pkcs10CertificateRequestGenerator.create({
      name: [{ CN: [node] }, { O: [`quorate:${namespace}`] }],
      keys,
      signingAlgorithm: CURVE,
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          { type: "dns", value: node },
          ...addresses.map((value) => ({ type: "ip" as const, value })),
        ]),
      ],
    });
    const name = `quorate-${namespace}-${node}-${clock.wallMs().toString(36)}`;
    await client.create(CERTIFICATE_SIGNING_REQUESTS, {
      metadata: { name },
      spec: {
        request: Buffer.from(request.toString("pem")).toString("base64"),
        signerName: SIGNER,
        usages: ["digital signature", "client auth", "server auth"],
      },
    });
    const exported = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
    return { name, keyPem: x509.PemConverter.encode(exported, "PRIVATE KEY") };
  }

  async #awaitAnswer(name: string): Promise<string> {
    const { client, clock, node } = this.#options;
    const until = clock.elapsedMs() + SIGN_WITHIN_MS;
    for (;;) {
      const answer = await client.get(CERTIFICATE_SIGNING_REQUESTS, { name });
      const denied = answer?.status?.conditions?.find(({ type }) => type === "Denied" || type === "Failed");
      if (answer === undefined || denied !== undefined) {
        this.#pending = undefined;
        const why =
          denied?.message ?? denied?.reason ?? (answer === undefined ? "the request was deleted" : "no reason given");
        throw new QuorateError("environment", "NotSigned", `the certificate of node "${node}" was refused: ${why}`);
      }
      const certificate = answer.status?.certificate;
      if (certificate !== undefined) return Buffer.from(certificate, "base64").toString("utf8");
      if (clock.elapsedMs() >= until) break;
      await clock.sleep(ASK_EVERY_MS);
    }
    throw new QuorateError(
      "transient",
      "NotSigned",
      `CertificateSigningRequest "${name}" was not signed within ${SIGN_WITHIN_MS / 1000} s; see that the controllers run`,
    );
  }
}

function holding(key: string, cert: string, authority: string): Held {
  const parsed = new x509.X509Certificate(cert);
  return {
    identity: { key, cert, ca: authority },
    notBefore: parsed.notBefore.getTime(),
    notAfter: parsed.notAfter.getTime(),
    authority,
  };
}
