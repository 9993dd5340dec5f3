import type { IncomingMessage } from "node:http";
import { errorOfAnswer } from "./api-errors.ts";
import type { KubeObject, ResourceType } from "./resource.ts";

export type WatchEvent<T> =
  | { type: "ADDED" | "MODIFIED" | "DELETED"; object: T }
  | { type: "BOOKMARK"; resourceVersion: string };

const MAX_LINE = 32 * 1024 * 1024;

/** @param onBytes called for whatever arrives */
export async function* linesOf(answer: IncomingMessage, onBytes?: () => void): AsyncGenerator<string, void, void> {
  let rest = "";
  answer.setEncoding("utf8");
  for await (const chunk of answer as AsyncIterable<string>) {
    onBytes?.();
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE) throw new Error(`an event is larger than ${MAX_LINE} characters`);
    for (const line of lines) if (line !== "") yield line;
  }
}

/** @throws the ApiError that an ERROR event stands for */
export function eventOf<T extends KubeObject>(type: ResourceType<T>, line: string, doing: string): WatchEvent<T> {
  const event = JSON.parse(line) as { type: string; object: T & { code?: number } };
  switch (event.type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      return { type: event.type, object: event.object };
    case "BOOKMARK":
      return { type: "BOOKMARK", resourceVersion: event.object.metadata.resourceVersion ?? "" };
    case "ERROR":
      throw errorOfAnswer(event.object.code ?? 500, event.object, doing);
    default:
      throw new Error(`${type.kind}: unknown event type ${event.type}`);
  }
}
