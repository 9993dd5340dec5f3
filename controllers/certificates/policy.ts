/** Who may have which certificate. Pure. */
import type { Asked } from "./authority.ts";

/** What the API server says of who made a request; it fills these in itself, the requester cannot. */
export interface Requester {
  readonly username: string;
  /** The node that the requester's token is bound to (by its pod), where it is. */
  readonly boundNode: string | undefined;
}

/**
 * Why the credentials that made the request are not those of the agent of the node it names; undefined: they are. So a
 * stolen token of an agent is worth the identity of its own node and of no other.
 * @param releaseNamespace where the agents' service account is
 */
export function refusalOf(
  asked: Asked,
  { username, boundNode }: Requester,
  releaseNamespace: string,
): string | undefined {
  if (username === `system:serviceaccount:${releaseNamespace}:quorate-agent`) {
    if (boundNode === asked.node) return undefined;
    const where = boundNode === undefined ? "a token that is bound to no node" : `a pod on node "${boundNode}"`;
    return `${where} may not have the identity of node "${asked.node}"`;
  }
  if (username === `quorate:agent:${asked.namespace}:${asked.node}`) return undefined;
  return `user "${username}" is not the agent of node "${asked.node}" in namespace "${asked.namespace}"`;
}
