import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, it } from "node:test";
import { pino } from "pino";
import { QuorateError } from "../errors.ts";
import { ConflictError, ForbiddenError, InvalidError, NotFoundError, UnreachableError } from "./api-errors.ts";
import { KubeClient } from "./client.ts";
import { CONFIG_MAPS } from "./core-types.ts";
import { ManualClock } from "./manual-clock.ts";

const KEY = { namespace: "default", name: "x" };

/** Sleeping takes no time and shows on the clock. */
class JumpingClock extends ManualClock {
  override async sleep(ms: number): Promise<void> {
    this.freeze(ms);
  }
}

/** A server that answers as the test says, to show what a real API server does only on bad days. */
describe("requests", () => {
  let folder: string;
  let server: Server;
  let client: KubeClient;
  let requests: { method: string; url: string; headers: IncomingMessage["headers"]; body: string }[];
  let answer: (response: ServerResponse, count: number, request: IncomingMessage) => void;
  let logged: string[];
  let clock: JumpingClock;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "quorate-transport-"));
    requests = [];
    logged = [];
    clock = new JumpingClock();
    server = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request.setEncoding("utf8")) body += chunk;
      requests.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers, body });
      answer(response, requests.length, request);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    client = connect("secret-1");
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  });

  function writeKubeconfig(user: object): string {
    const { port } = server.address() as AddressInfo;
    const path = join(folder, "kubeconfig");
    const cluster = { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true };
    const config = {
      clusters: [{ name: "c", cluster }],
      users: [{ name: "u", user }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u", namespace: "prod" } }],
      "current-context": "x",
    };
    writeFileSync(path, JSON.stringify(config));
    return path;
  }

  function connect(token: string): KubeClient {
    const log = pino(
      new Writable({
        write(line, _encoding, done) {
          logged.push(String(line));
          done();
        },
      }),
    );
    return KubeClient.fromKubeconfig(writeKubeconfig({ token }), { timeoutMs: 3_000, clock, log });
  }

  function json(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
  }

  const found = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "x", namespace: "default", resourceVersion: "1" },
  };

  it("carry the token and name the project; the namespace of the context is known", async () => {
    answer = (response) => json(response, 200, found);
    await client.get(CONFIG_MAPS, KEY);
    assert.equal(requests[0]?.headers.authorization, "Bearer secret-1");
    assert.equal(requests[0]?.headers["user-agent"], "quorate");
    assert.equal(client.defaultNamespace, "prod");
  });

  it("wait as long as Retry-After says when the server is too busy, then succeed", async () => {
    answer = (response, count) =>
      count === 1
        ? json(response, 429, { message: "too many requests" }, { "retry-after": "1" })
        : json(response, 200, found);
    assert.deepEqual(await client.get(CONFIG_MAPS, KEY), found);
    assert.equal(clock.elapsedMs(), 1_000, "it waited a second");
    assert.equal(requests.length, 2);
  });

  it("give up at their time-out when the server stays too busy", async () => {
    answer = (response) => json(response, 429, { message: "too many requests" }, { "retry-after": "2" });
    await assert.rejects(client.get(CONFIG_MAPS, KEY), (error: unknown) => {
      assert.ok(error instanceof UnreachableError);
      assert.equal(error.reason, "TooManyRequests");
      assert.equal(error.class, "transient");
      return true;
    });
    assert.equal(requests.length, 2);
  });

  it("end at their time-out when the server does not answer, and say so with the object's name", async () => {
    answer = () => {};
    const startedMs = performance.now();
    await assert.rejects(client.get(CONFIG_MAPS, KEY, { timeoutMs: 200 }), (error: unknown) => {
      assert.ok(error instanceof UnreachableError);
      assert.equal(error.reason, "ApiServerTimeout");
      assert.match(error.message, /^get ConfigMap default\/x: API server http:.* no answer in 0.2 s/);
      return true;
    });
    assert.ok(performance.now() - startedMs < 1_000);
  });

  it("end at their time-out in the middle of an answer", async () => {
    answer = (response) => response.writeHead(200).write('{"meta');
    await assert.rejects(client.get(CONFIG_MAPS, KEY, { timeoutMs: 200 }), { reason: "ApiServerTimeout" });
  });

  it("end when the caller aborts, with the caller's reason", async () => {
    const abort = new AbortController();
    answer = () => abort.abort(new Error("changed my mind"));
    await assert.rejects(client.get(CONFIG_MAPS, KEY, { signal: abort.signal }), /changed my mind/);
    await assert.rejects(client.get(CONFIG_MAPS, KEY, { signal: abort.signal }), /changed my mind/);
    assert.equal(requests.length, 1, "an aborted caller sends nothing");
  });

  it("are tried again at once on a new connection when the server had closed the idle one", async () => {
    answer = (response, count) => {
      // The second request comes on the connection of the first, as on one that the server has just closed.
      if (count === 2) response.destroy();
      else json(response, 200, found);
    };
    await client.get(CONFIG_MAPS, KEY);
    assert.deepEqual(await client.get(CONFIG_MAPS, KEY), found);
    assert.equal(requests.length, 3);
  });

  it("that create or replace are never sent twice on their own", async () => {
    answer = (response, count) => (count === 1 ? json(response, 200, found) : response.destroy());
    await client.get(CONFIG_MAPS, KEY);
    await assert.rejects(client.create(CONFIG_MAPS, { metadata: KEY }), { reason: "ApiServerUnreachable" });
    assert.equal(requests.length, 2);
  });

  it("read the kubeconfig again when the credentials are refused", async () => {
    answer = (response, _count, request) => {
      if (request.headers.authorization === "Bearer secret-2") json(response, 200, found);
      else json(response, 401, { message: "Unauthorized" });
    };
    await assert.rejects(client.get(CONFIG_MAPS, KEY), (error: unknown) => error instanceof ForbiddenError);
    clock.freeze(1_000);
    writeKubeconfig({ token: "secret-2" });
    assert.deepEqual(await client.get(CONFIG_MAPS, KEY), found);
  });

  it("use a tokenFile of the kubeconfig, relative to it", async () => {
    writeFileSync(join(folder, "token"), "secret-3");
    const path = writeKubeconfig({ tokenFile: "token" });
    answer = (response) => json(response, 200, found);
    await KubeClient.fromKubeconfig(path).get(CONFIG_MAPS, KEY);
    assert.equal(requests[0]?.headers.authorization, "Bearer secret-3");
  });

  it("ask the plugin of the kubeconfig for credentials, and do not wait for it for ever", async () => {
    answer = (response) => json(response, 200, found);
    const credential = {
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      status: { token: "secret-4" },
    };
    const exec = { apiVersion: credential.apiVersion, command: "echo", args: [JSON.stringify(credential)] };
    await KubeClient.fromKubeconfig(writeKubeconfig({ exec })).get(CONFIG_MAPS, KEY);
    assert.equal(requests[0]?.headers.authorization, "Bearer secret-4");
    const slow = KubeClient.fromKubeconfig(writeKubeconfig({ exec: { ...exec, command: "sleep", args: ["1"] } }));
    await assert.rejects(slow.get(CONFIG_MAPS, KEY, { timeoutMs: 100 }), {
      reason: "CredentialsUnavailable",
      class: "environment",
    });
    const broken = KubeClient.fromKubeconfig(writeKubeconfig({ exec: { ...exec, command: "false", args: [] } }));
    await assert.rejects(broken.get(CONFIG_MAPS, KEY), { reason: "CredentialsUnavailable" });
  });

  it("go on with the credentials they have while the kubeconfig is half written", async () => {
    answer = (response) => json(response, 200, found);
    await client.get(CONFIG_MAPS, KEY);
    writeFileSync(join(folder, "kubeconfig"), "users: [");
    clock.freeze(20_000);
    await client.get(CONFIG_MAPS, KEY);
    writeKubeconfig({ token: "secret-5" });
    clock.freeze(20_000);
    await client.get(CONFIG_MAPS, KEY);
    assert.deepEqual(
      requests.map(({ headers }) => headers.authorization),
      ["Bearer secret-1", "Bearer secret-1", "Bearer secret-5"],
    );
  });

  it("say what the server said, with an error for each kind of refusal", async () => {
    const cases: [number, object | string, new (...args: never[]) => QuorateError, string, string][] = [
      [422, { message: "spec.x: must be set", reason: "Invalid" }, InvalidError, "user", "Invalid"],
      [400, { message: "bad field", reason: "BadRequest" }, InvalidError, "user", "BadRequest"],
      [403, { message: "cannot create", reason: "Forbidden" }, ForbiddenError, "environment", "Forbidden"],
      [404, { message: "gone", reason: "NotFound", details: { name: "x" } }, NotFoundError, "transient", "NotFound"],
      [404, "404 page not found", NotFoundError, "environment", "KindNotServed"],
      [409, { message: "modified", reason: "Conflict" }, ConflictError, "transient", "Conflict"],
      [409, { message: "exists", reason: "AlreadyExists" }, ConflictError, "transient", "AlreadyExists"],
      [500, { message: "etcd is away", reason: "InternalError" }, UnreachableError, "transient", "InternalError"],
      [
        500,
        { message: "failed to create typed patch object (x): .a: field not declared" },
        InvalidError,
        "user",
        "UnknownField",
      ],
      [503, "no healthy upstream", UnreachableError, "transient", "ServerError"],
    ];
    for (const [status, body, errorType, errorClass, reason] of cases) {
      answer = (response) => json(response, status, body);
      await assert.rejects(client.create(CONFIG_MAPS, { metadata: KEY }), (error: unknown) => {
        assert.ok(error instanceof errorType, `${status} is ${error}`);
        assert.equal(error.class, errorClass);
        assert.equal(error.reason, reason);
        const said = typeof body === "string" ? body : (body as { message: string }).message;
        assert.ok(error.message.startsWith(`create ConfigMap default/x: ${said}`), error.message);
        return true;
      });
    }
  });

  it("name the fields and managers of an apply conflict, which does not go away by itself", async () => {
    const causes = [{ reason: "FieldManagerConflict", message: 'conflict with "kubectl"', field: ".data.a" }];
    answer = (response) => json(response, 409, { message: "Apply failed", reason: "Conflict", details: { causes } });
    await assert.rejects(client.apply(CONFIG_MAPS, { metadata: KEY }, { fieldManager: "me" }), (error: unknown) => {
      assert.ok(error instanceof ConflictError);
      assert.equal(error.class, "user");
      assert.deepEqual(error.fields, [{ field: ".data.a", message: 'conflict with "kubectl"' }]);
      return true;
    });
  });

  it("set the content type of each kind of write, and its field manager", async () => {
    answer = (response) => json(response, 200, found);
    await client.apply(CONFIG_MAPS, { metadata: KEY, data: { a: "1" } }, { fieldManager: "m", force: true });
    await client.applyStatus(CONFIG_MAPS, { metadata: KEY }, { fieldManager: "m" });
    await client.mergePatch(CONFIG_MAPS, KEY, { data: { a: null } }, { fieldManager: "m" });
    await client.replace(CONFIG_MAPS, { metadata: { ...KEY, resourceVersion: "1" } });
    assert.deepEqual(
      requests.map(({ method, url, headers }) => `${method} ${url} ${headers["content-type"]}`),
      [
        "PATCH /api/v1/namespaces/default/configmaps/x?fieldManager=m&fieldValidation=Warn&force=true application/apply-patch+yaml",
        "PATCH /api/v1/namespaces/default/configmaps/x/status?fieldManager=m&fieldValidation=Warn application/apply-patch+yaml",
        "PATCH /api/v1/namespaces/default/configmaps/x?fieldManager=m&fieldValidation=Warn application/merge-patch+json",
        "PUT /api/v1/namespaces/default/configmaps/x?fieldManager=quorate&fieldValidation=Warn application/json",
      ],
    );
    assert.deepEqual(JSON.parse(requests[0]?.body ?? ""), {
      metadata: KEY,
      data: { a: "1" },
      apiVersion: "v1",
      kind: "ConfigMap",
    });
  });

  it("log a warning of the server once", async () => {
    answer = (response) => json(response, 200, found, { warning: '299 - "unknown field spec.x"' });
    await client.get(CONFIG_MAPS, KEY);
    await client.get(CONFIG_MAPS, KEY);
    assert.equal(logged.filter((line) => line.includes("unknown field spec.x")).length, 1);
  });

  it("never put a token into an error or a log", async () => {
    answer = (response) => response.destroy();
    await assert.rejects(client.get(CONFIG_MAPS, KEY), (error: unknown) => {
      const shown =
        error instanceof QuorateError ? `${error.stack}${JSON.stringify(error.cause ?? "")}` : String(error);
      assert.doesNotMatch(shown, /secret-1/);
      return true;
    });
    assert.doesNotMatch(logged.join(), /secret-1/);
  });

  it("refuse to guess: replace without resourceVersion, a namespaced kind without namespace", async () => {
    await assert.rejects(client.replace(CONFIG_MAPS, { metadata: KEY }), /no resourceVersion/);
    await assert.rejects(client.get(CONFIG_MAPS, { name: "x" }), /needs a namespace/);
    assert.equal(requests.length, 0);
  });

  it("never leave the path of their object", async () => {
    answer = (response) => json(response, 200, found);
    await client.get(CONFIG_MAPS, { namespace: "../../x", name: "a/b?c" });
    assert.equal(requests[0]?.url, "/api/v1/namespaces/..%2F..%2Fx/configmaps/a%2Fb%3Fc");
  });
});

describe("a kubeconfig", () => {
  it("that cannot be read, or lacks the context, is the user's to repair", () => {
    const classed = (reason: string) => (error: unknown) =>
      error instanceof QuorateError && error.class === "user" && error.reason === reason;
    assert.throws(() => KubeClient.fromKubeconfig("/nonexistent/kubeconfig"), classed("KubeconfigInvalid"));
  });
});
