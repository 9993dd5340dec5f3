import { type Clock, systemClock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { type Logger, processLog } from "../log.ts";
import { NotFoundError, UnreachableError } from "./api-errors.ts";
import { type Credentials, findCredentials, type KubeconfigOptions } from "./credentials.ts";
import { pathOf, type Query, type Subresource } from "./request-path.ts";
import {
  type Applied,
  formatKey,
  type KubeObject,
  type ObjectKey,
  type ResourceType,
  type Written,
} from "./resource.ts";
import { type Exchange, Transport } from "./transport.ts";
import { eventOf, linesOf, type WatchEvent } from "./watch-stream.ts";

export interface ClientOptions extends KubeconfigOptions {
  /** Of every request that does not say otherwise; 10 s. Lists take three times as long. */
  timeoutMs?: number;
  /** What the server does with fields it does not know: warn (it is logged) or refuse. Default Warn. */
  unknownFields?: "Warn" | "Strict";
  userAgent?: string;
  clock?: Clock;
  log?: Logger;
}

export interface CallOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface ListOptions extends CallOptions {
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
}

export interface ApplyOptions extends CallOptions {
  /** One for each writer; it owns the fields it applies. */
  fieldManager: string;
  /** Take fields from other managers. Only for fields that are ours by design. */
  force?: boolean;
}

export interface DeleteOptions extends CallOptions {
  /** Delete only this very object. */
  uid?: string;
  resourceVersion?: string;
  propagationPolicy?: "Background" | "Foreground" | "Orphan";
  gracePeriodSeconds?: number;
}

/** What a KubeClient does; take this (or a Pick of it) where a test may put something else. */
export type KubeApi = Pick<KubeClient, keyof KubeClient>;

const PAGE_SIZE = 500;

/**
 * The API server. All writes of the project go through here, so content types, time-outs and errors are decided once.
 *
 * Every method throws an ApiError (a QuorateError): NotFoundError, ConflictError, InvalidError, ForbiddenError,
 * GoneError, UnreachableError; or the abort reason of the caller's signal.
 */
export class KubeClient {
  readonly #credentials: Credentials;
  readonly #transport: Transport;
  readonly #timeoutMs: number;
  readonly #unknownFields: "Warn" | "Strict";

  private constructor(credentials: Credentials, options: ClientOptions, clock: Clock) {
    this.#credentials = credentials;
    const log = options.log ?? processLog("kube");
    this.#transport = new Transport(credentials, options.userAgent ?? "quorate", clock, log);
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#unknownFields = options.unknownFields ?? "Warn";
  }

  /**
   * @param path a kubeconfig. Without it: the pod's service account, else $KUBECONFIG, else ~/.kube/config.
   * @throws QuorateError class user when there is none that can be read.
   */
  static fromKubeconfig(path?: string, options: ClientOptions = {}): KubeClient {
    const clock = options.clock ?? systemClock;
    return new KubeClient(findCredentials(path, options, clock), options, clock);
  }

  /** The namespace the kubeconfig's context names, or the pod's own. */
  get defaultNamespace(): string {
    return this.#credentials.namespace ?? "default";
  }

  /** Undefined when the object does not exist. */
  async get<T extends KubeObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    options: CallOptions = {},
  ): Promise<T | undefined> {
    try {
      return await this.#json<T>({
        doing: `get ${type.kind} ${formatKey(key)}`,
        method: "GET",
        path: pathOf(type, key.namespace, key.name),
        repeatable: true,
        ...this.#limits(options),
      });
    } catch (error) {
      if (error instanceof NotFoundError && error.reason === "NotFound") return undefined;
      throw error;
    }
  }

  /** All of them, as of one resourceVersion; fetched in pages. */
  async list<T extends KubeObject>(
    type: ResourceType<T>,
    options: ListOptions = {},
  ): Promise<{ items: T[]; resourceVersion: string }> {
    const items: T[] = [];
    let page: string | undefined;
    for (;;) {
      const answer = await this.#json<{
        metadata: { resourceVersion?: string; continue?: string };
        items?: T[] | null;
      }>({
        doing: `list ${type.plural}${options.namespace === undefined ? "" : ` in ${options.namespace}`}`,
        method: "GET",
        path: pathOf(type, options.namespace, undefined, { ...selectors(options), limit: PAGE_SIZE, continue: page }),
        repeatable: true,
        ...this.#limits({ timeoutMs: this.#timeoutMs * 3, ...options }),
      });
      // The items of built-in kinds come without these two.
      for (const item of answer.items ?? []) items.push({ ...item, apiVersion: type.apiVersion, kind: type.kind });
      page = answer.metadata.continue;
      if (page === undefined || page === "") return { items, resourceVersion: answer.metadata.resourceVersion ?? "" };
    }
  }

  /** @throws ConflictError (reason AlreadyExists) */
  async create<T extends KubeObject>(
    type: ResourceType<T>,
    object: Written<T>,
    options: CallOptions & { fieldManager?: string } = {},
  ): Promise<T> {
    return this.#json<T>({
      doing: `create ${type.kind} ${formatKey(object.metadata)}`,
      method: "POST",
      path: pathOf(type, object.metadata.namespace, undefined, this.#writing(options.fieldManager)),
      body: bodyOf(type, object),
      repeatable: false,
      ...this.#limits(options),
    });
  }

  /**
   * Compare-and-swap: `object` is one that was read, changed, with its resourceVersion.
   * What changes nothing succeeds for everyone: two who must not both win have to write different things.
   * @throws ConflictError when it is no longer the current one.
   */
  async replace<T extends KubeObject>(
    type: ResourceType<T>,
    object: Written<T>,
    options: CallOptions & { fieldManager?: string; subresource?: Subresource } = {},
  ): Promise<T> {
    const { resourceVersion } = object.metadata;
    if (resourceVersion === undefined || resourceVersion === "") {
      throw new TypeError(
        `replace ${type.kind} ${formatKey(object.metadata)}: it has no resourceVersion to compare with`,
      );
    }
    return this.#json<T>({
      doing: `replace ${type.kind} ${formatKey(object.metadata)}`,
      method: "PUT",
      path: pathOf(
        type,
        object.metadata.namespace,
        object.metadata.name,
        this.#writing(options.fieldManager),
        options.subresource,
      ),
      body: bodyOf(type, object),
      repeatable: false,
      ...this.#limits(options),
    });
  }

  /** False when it did not exist. With `uid` or `resourceVersion`: ConflictError when it is another one. */
  async delete<T extends KubeObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    options: DeleteOptions = {},
  ): Promise<boolean> {
    const { uid, resourceVersion, propagationPolicy, gracePeriodSeconds } = options;
    try {
      await this.#json<unknown>({
        doing: `delete ${type.kind} ${formatKey(key)}`,
        method: "DELETE",
        path: pathOf(type, key.namespace, key.name),
        body: JSON.stringify({
          apiVersion: "v1",
          kind: "DeleteOptions",
          propagationPolicy,
          gracePeriodSeconds,
          preconditions: uid === undefined && resourceVersion === undefined ? undefined : { uid, resourceVersion },
        }),
        repeatable: false,
        ...this.#limits(options),
      });
      return true;
    } catch (error) {
      if (error instanceof NotFoundError && error.reason === "NotFound") return false;
      throw error;
    }
  }

  /** Server-side apply; creates the object when it does not exist. @throws ConflictError with `fields` */
  async apply<T extends KubeObject>(type: ResourceType<T>, object: Applied<T>, options: ApplyOptions): Promise<T> {
    return this.#apply(type, object, options, undefined);
  }

  /** Server-side apply of `status` alone. @throws NotFoundError when the object does not exist. */
  async applyStatus<T extends KubeObject>(
    type: ResourceType<T>,
    object: Applied<T>,
    options: ApplyOptions,
  ): Promise<T> {
    return this.#apply(type, object, options, "status");
  }

  async #apply<T extends KubeObject>(
    type: ResourceType<T>,
    object: Applied<T>,
    options: ApplyOptions,
    subresource?: Subresource,
  ): Promise<T> {
    const query = { ...this.#writing(options.fieldManager), force: options.force === true ? "true" : undefined };
    return this.#json<T>({
      doing: `apply ${type.kind}${subresource === undefined ? "" : ` ${subresource}`} ${formatKey(object.metadata)} as ${options.fieldManager}`,
      method: "PATCH",
      path: pathOf(type, object.metadata.namespace, object.metadata.name, query, subresource),
      body: bodyOf(type, object),
      contentType: "application/apply-patch+yaml",
      repeatable: true,
      ...this.#limits(options),
    });
  }

  /** JSON merge patch: `null` removes a field, a list is replaced as a whole. */
  async mergePatch<T extends KubeObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    patch: object,
    options: CallOptions & { fieldManager: string; subresource?: Subresource },
  ): Promise<T> {
    return this.#json<T>({
      doing: `patch ${type.kind} ${formatKey(key)} as ${options.fieldManager}`,
      method: "PATCH",
      path: pathOf(type, key.namespace, key.name, this.#writing(options.fieldManager), options.subresource),
      body: JSON.stringify(patch),
      contentType: "application/merge-patch+json",
      repeatable: true,
      ...this.#limits(options),
    });
  }

  /** The answer to a GET of a path that is no object, as text: `/version`, `/readyz?verbose`, a pod's log. */
  async readText(path: string, options: CallOptions = {}): Promise<string> {
    return this.#transport.text({
      doing: `get ${path}`,
      method: "GET",
      path,
      repeatable: true,
      ...this.#limits(options),
    });
  }

  /**
   * Changes after `resourceVersion`, until the server ends the stream (after about `timeoutSeconds`) or `signal`.
   * WatchCache is what controllers use; this is its source.
   * @param onBytes called for whatever arrives, and once when the server has accepted the watch.
   * @throws GoneError, or UnreachableError when the connection breaks.
   */
  async *watch<T extends KubeObject>(
    type: ResourceType<T>,
    options: ListOptions & { resourceVersion: string; timeoutSeconds: number; onBytes?: () => void },
  ): AsyncGenerator<WatchEvent<T>, void, void> {
    const doing = `watch ${type.plural}${options.namespace === undefined ? "" : ` in ${options.namespace}`}`;
    const query = {
      ...selectors(options),
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: options.resourceVersion,
      timeoutSeconds: options.timeoutSeconds,
    };
    const answer = await this.#transport.stream({
      doing,
      method: "GET",
      path: pathOf(type, options.namespace, undefined, query),
      repeatable: true,
      ...this.#limits(options),
    });
    const onAbort = () => answer.destroy();
    options.signal?.addEventListener("abort", onAbort, { once: true });
    try {
      options.signal?.throwIfAborted();
      options.onBytes?.();
      for await (const line of linesOf(answer, options.onBytes)) yield eventOf(type, line, doing);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof QuorateError) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new UnreachableError("transient", "WatchBroken", 0, `${doing}: ${message}`, { cause: error });
    } finally {
      options.signal?.removeEventListener("abort", onAbort);
      answer.destroy();
    }
    options.signal?.throwIfAborted();
  }

  async #json<T>(exchange: Exchange): Promise<T> {
    const text = await this.#transport.text(exchange);
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw new UnreachableError("transient", "AnswerUnreadable", 200, `${exchange.doing}: the answer is no JSON`, {
        cause,
      });
    }
  }

  #limits(options: CallOptions): { timeoutMs: number; signal?: AbortSignal } {
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
    return options.signal === undefined ? { timeoutMs } : { timeoutMs, signal: options.signal };
  }

  #writing(fieldManager: string | undefined): Query {
    return { fieldManager: fieldManager ?? "quorate", fieldValidation: this.#unknownFields };
  }
}

function selectors(options: ListOptions): Query {
  return { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
}

function bodyOf(type: ResourceType, object: object): string {
  return JSON.stringify({ ...object, apiVersion: type.apiVersion, kind: type.kind });
}
