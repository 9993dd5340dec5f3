/** What the agent says of its host in ClusterNode.status. */
export { hostAddresses, hostCapacity, type NodeFacts, nodeStatus } from "./node-status.ts";
