import type { NodeMembership } from "../../crds/index.ts";
import type { Quorum } from "../corosync/index.ts";

/**
 * What the Lease of this node says of its corosync. Without an answer: that there is no membership.
 * @param nodeId where corosync does not say it
 */
export function membershipReport(quorum: Quorum | undefined, nodeId: number): NodeMembership {
  if (quorum?.state !== "Running") return { ringId: "", quorate: false, members: [], nodeId };
  const { qdeviceVotes = 0 } = quorum;
  return {
    ringId: quorum.ringId,
    quorate: quorum.quorate,
    members: quorum.members.map((member) => member.nodeId),
    nodeId: quorum.nodeId,
    ...(qdeviceVotes === 0 ? {} : { qdeviceVotes }),
  };
}
