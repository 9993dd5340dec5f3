/** The agent of one node: its caches, its parts, and the loops that drive them. */
export { NodeAgent, type NodeAgentOptions } from "./node-agent.ts";
