/** Answers of real tools (corosync 3.1.7), shortened where lines repeat. */

export const QUORATE = `Quorum information
------------------
Date:             Sat Nov 21 00:40:15 2026
Quorum provider:  corosync_votequorum
Nodes:            3
Node ID:          1
Ring ID:          1.9
Quorate:          Yes

Votequorum information
----------------------
Expected votes:   3
Highest expected: 3
Total votes:      3
Quorum:           2  
Flags:            Quorate 

Membership information
----------------------
    Nodeid      Votes Name
         1          1 10.9.0.1 (local)
         2          1 10.9.0.2
         3          1 10.9.0.3
`;

export const NOT_QUORATE = `Quorum information
------------------
Date:             Sat Nov 21 00:40:44 2026
Quorum provider:  corosync_votequorum
Nodes:            1
Node ID:          3
Ring ID:          3.d
Quorate:          No

Votequorum information
----------------------
Expected votes:   3
Highest expected: 3
Total votes:      1
Quorum:           2 Activity blocked
Flags:            

Membership information
----------------------
    Nodeid      Votes Name
         3          1 10.9.0.3 (local)
`;

export const WITH_QDEVICE = `Quorum information
------------------
Date:             Sat Nov 21 00:50:44 2026
Quorum provider:  corosync_votequorum
Nodes:            2
Node ID:          1
Ring ID:          1.1a
Quorate:          Yes

Votequorum information
----------------------
Expected votes:   3
Highest expected: 3
Total votes:      3
Quorum:           2  
Flags:            Quorate Qdevice 

Membership information
----------------------
    Nodeid      Votes    Qdevice Name
         1          1    A,V,NMW 10.9.0.1 (local)
         2          1         NR 10.9.0.2
         0          1            Qdevice
`;

/** corosync-cmapctl of a node whose second peer has left. */
export const CMAP = `internal_configuration.service.0.name (str) = corosync_cmap
nodelist.local_node_pos (u32) = 0
nodelist.node.0.name (str) = n1
nodelist.node.0.nodeid (u32) = 1
nodelist.node.0.ring0_addr (str) = 10.9.0.1
nodelist.node.0.ring1_addr (str) = 10.9.1.1
nodelist.node.1.name (str) = n2
nodelist.node.1.nodeid (u32) = 2
nodelist.node.1.ring0_addr (str) = 10.9.0.2
nodelist.node.1.ring1_addr (str) = 10.9.1.2
nodelist.node.2.nodeid (u32) = 10
resources.system.load_15min.current (dbl) = 0.000000
runtime.config.totem.consensus (u32) = 1980
runtime.config.totem.token (u32) = 1650
runtime.members.1.config_version (u64) = 4
runtime.members.1.ip (str) = r(0) ip(10.9.0.1) r(1) ip(10.9.1.1) 
runtime.members.1.status (str) = joined
runtime.members.2.config_version (u64) = 3
runtime.members.2.status (str) = joined
runtime.members.10.config_version (u64) = 3
runtime.members.10.status (str) = left
runtime.votequorum.this_node_id (u32) = 1
totem.cluster_name (str) = ring
totem.config_version (u64) = 4
totem.crypto_cipher (str) = aes256
totem.crypto_hash (str) = sha256
totem.transport (str) = knet
`;

/** corosync-cmapctl -m stats stats.knet.node of the same. */
export const CMAP_STATISTICS = `stats.knet.node1.link0.connected (u8) = 1
stats.knet.node1.link0.enabled (u8) = 1
stats.knet.node2.link0.connected (u8) = 1
stats.knet.node2.link0.down_count (u32) = 1
stats.knet.node2.link0.enabled (u8) = 1
stats.knet.node2.link0.latency_ave (u32) = 177
stats.knet.node2.link0.latency_min (u32) = 4294967295
stats.knet.node2.link0.latency_samples (u32) = 12
stats.knet.node2.link1.connected (u8) = 1
stats.knet.node2.link1.enabled (u8) = 1
stats.knet.node2.link1.latency_ave (u32) = 0
stats.knet.node2.link1.latency_samples (u32) = 0
stats.knet.node2.link2.connected (u8) = 0
stats.knet.node2.link2.enabled (u8) = 0
stats.knet.node10.link0.connected (u8) = 0
stats.knet.node10.link0.down_count (u32) = 2
stats.knet.node10.link0.enabled (u8) = 1
`;

/** A configuration of nodes 1 … 3 as the membership controller renders it, in short. */
export function sampleConf(version: number, nodeIds: readonly number[] = [1, 2, 3], clusterName = "ring"): string {
  const nodes = nodeIds
    .map((id) => `  node {\n    name: n${id}\n    nodeid: ${id}\n    ring0_addr: 10.9.0.${id}\n  }\n`)
    .join("");
  return `# a comment
totem {
  version: 2
  cluster_name: ${clusterName}
  config_version: ${version}
  interface {
    linknumber: 0
  }
}

nodelist {
${nodes}}

quorum {
  provider: corosync_votequorum
}
`;
}
