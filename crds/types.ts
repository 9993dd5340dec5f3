/**
 * Generated from the YAML files of this folder by generate.ts. Do not edit: change the YAML and run
 * `node crds/generate.ts`.
 */
import type { ObjectMeta } from "./resource.ts";

/**
 * A group of hosts that form one corosync cluster. Everything else in its namespace belongs to it, so a namespace
 * holds one Cluster; a second one is left alone and says so (Ready=False, reason SecondCluster).
 */
export interface Cluster {
  apiVersion: "quorate.dev/v1alpha1";
  kind: "Cluster";
  /**
   * What the cluster should be. Only links is required; everything else has a default that suits 2 to 50 hosts.
   */
  spec: ClusterSpec;
  /**
   * What the cluster is. Written by the controllers.
   */
  status?: ClusterStatus;
  metadata: ObjectMeta;
}

/**
 * What the cluster should be. Only links is required; everything else has a default that suits 2 to 50 hosts.
 */
export interface ClusterSpec {
  /**
   * Name of the corosync cluster, 1 to 15 letters, digits and inner hyphens. Default: metadata.name. It must be the only
   * cluster of that name on its networks, because hosts of two clusters of one name would try to join each other. Cannot
   * change.
   */
  clusterName?: string;
  /**
   * The networks corosync uses, one a link, 1 to 8. Traffic goes over the connected link of the highest priority (at
   * equal priority the lowest number); the others take over within about a second. Use two that share no switch. Links
   * may be added and removed while the cluster runs; change the network of one link at a time.
   */
  links: ClusterLink[];
  /**
   * Encryption of the corosync traffic. It is always on; the key is made and distributed by the controllers.
   */
  crypto: ClusterCrypto;
  /**
   * Time without a sign of life after which corosync takes a node for lost, in milliseconds. Default 3000. Smaller fails
   * over faster, larger rides out worse networks. All other times are derived from this and ha.watchdogSeconds and shown
   * with their derivation in status.timings; values that do not fit together are not rolled out (TimingsSafe=False).
   */
  tokenMilliseconds: number;
  /**
   * An outside vote from a corosync-qnetd server, for clusters of an even number of nodes. Default: none. Not set up by
   * this version, so leave it out: corosync would expect its votes, and nobody would give them.
   */
  qdevice?: ClusterQDevice;
  /**
   * Break glass: lets a remainder without a majority become quorate. Default: none. Set it only when the missing nodes
   * are known to be off, else guests can run twice. While it is set nothing recovers by itself, other changes are
   * refused, and QuorumOverridden=True. It ends by itself at expiresAt.
   */
  quorumOverride?: QuorumOverride;
  /**
   * Where volumes of guests can be, by names that mean the same on every node. Default: none. A guest is replicated to
   * the storage of the same name on the target.
   */
  storages?: ClusterStorage[];
  /**
   * Range from which the vmid of a guest is chosen that gives none, the lowest that no guest of the cluster ever had.
   * Explicit ids may lie outside.
   */
  guestIds: GuestIdRange;
  /**
   * How guests and their data move between nodes. Not used by this version: transfers are always mutual TLS over the
   * first link.
   */
  migration: ClusterMigration;
  /**
   * How guests under HA are guarded.
   */
  ha: ClusterHA;
}

/**
 * One network of the cluster.
 */
export interface ClusterLink {
  /**
   * Number of the link in corosync, 0 to 7, the same on every node. Default: its place in the list. Give every link a
   * number or none; with numbers, a link can be removed without renumbering the others.
   */
  number?: number;
  /**
   * Priority of the link, 0 to 255. Default 1. The connected link of the highest priority carries the traffic.
   */
  priority: number;
  /**
   * Network of the link as CIDR, for example 10.6.0.0/24. Each node uses the address it has in it; exactly one is
   * needed. Default: none; then every ClusterNode must give its address in spec.links.
   */
  network?: string;
}

/**
 * Encryption of the corosync traffic. It is always on; the key is made and distributed by the controllers.
 */
export interface ClusterCrypto {
  /**
   * Cipher of the corosync traffic. Default AES256. A change waits until no watchdog is armed; see ha.disarm.
   */
  cipher: "AES256" | "AES192" | "AES128";
  /**
   * Message authentication of the corosync traffic. Default SHA256. A change waits as that of the cipher does.
   */
  hash: "SHA256" | "SHA384" | "SHA512";
}

/**
 * An outside vote from a corosync-qnetd server, for clusters of an even number of nodes. Default: none. Not set up by
 * this version, so leave it out: corosync would expect its votes, and nobody would give them.
 */
export interface ClusterQDevice {
  /**
   * Host name or IP address of the qnetd server. It must not be a node of this cluster.
   */
  host: string;
  /**
   * TCP port of the qnetd server. Default 5403.
   */
  port: number;
  /**
   * How the outside vote is given. FFSplit gives one vote to one half of an even split; LMS gives N-1 votes, so that the
   * last man stands. Default: FFSplit for an even number of nodes, LMS for an odd one.
   */
  algorithm?: "FFSplit" | "LMS";
  /**
   * Which half wins an even split: the one with the Lowest or Highest node id, or with a given node id, for example "3".
   * Default Lowest.
   */
  tieBreaker: string;
  /**
   * Use the QDevice although the number of nodes is odd. Default false. It then has N-1 votes, so that losing it and one
   * node stops the cluster: a single point of failure that an odd cluster does not need.
   */
  allowOddNodes: boolean;
}

/**
 * Break glass: lets a remainder without a majority become quorate. Default: none. Set it only when the missing nodes
 * are known to be off, else guests can run twice. While it is set nothing recovers by itself, other changes are
 * refused, and QuorumOverridden=True. It ends by itself at expiresAt.
 */
export interface QuorumOverride {
  /**
   * Votes to expect instead of the sum of all nodes; 1 makes a single node quorate.
   */
  expectedVotes: number;
  /**
   * Why, for the event and for those who look later.
   */
  reason: string;
  /**
   * When the override ends by itself, for example 2026-11-21T18:00:00Z. At most a day ahead is honoured.
   */
  expiresAt: string;
}

/**
 * One storage.
 */
export interface ClusterStorage {
  /**
   * Name of the storage, which volumes refer to.
   */
  name: string;
  /**
   * ZFS: datasets with snapshots and replication. Btrfs: not run by this version. Directory: files, never snapshotted or
   * replicated; for content that is shared between nodes or may be lost.
   */
  type: StorageType;
  /**
   * The ZFS dataset below which volumes are made, for example tank/guests. It must exist on the nodes. Type ZFS only.
   */
  dataset?: string;
  /**
   * Absolute path of the storage on the nodes, for example /srv/guests. Type Btrfs: a directory in a mounted btrfs. Type
   * Directory: any directory. It must exist.
   */
  path?: string;
  /**
   * Every node sees the same content there (NFS and the like), so guests move without their data. Default false. Type
   * Directory only. It is taken at your word: a path that is not really shared loses data on failover.
   */
  shared: boolean;
  /**
   * Nodes that have this storage. Default: all. The others do not open it. HA does not look at this: confine guests that
   * use it with a restricted HAGroup.
   */
  nodes?: string[];
}

/**
 * ZFS: datasets with snapshots and replication. Btrfs: not run by this version. Directory: files, never snapshotted or
 * replicated; for content that is shared between nodes or may be lost.
 */
export type StorageType = "ZFS" | "Btrfs" | "Directory";

/**
 * Range from which the vmid of a guest is chosen that gives none, the lowest that no guest of the cluster ever had.
 * Explicit ids may lie outside.
 */
export interface GuestIdRange {
  /**
   * Smallest id that is given out. Default 100.
   */
  lower: number;
  /**
   * The first id that is no longer given out. Default 1000000.
   */
  upper: number;
}

/**
 * How guests and their data move between nodes. Not used by this version: transfers are always mutual TLS over the
 * first link.
 */
export interface ClusterMigration {
  /**
   * Secure: mutual TLS between the agents. Insecure: in the clear, faster, for networks that nobody else can reach.
   * Default Secure. Not used by this version, which is always Secure.
   */
  type: TransferType;
  /**
   * Network for the data of migrations and replication as CIDR; each node needs exactly one address in it. Default: the
   * network of the first link. Not used by this version, which always takes that of the first link.
   */
  network?: string;
  /**
   * Migrations that may run at once on a node. Default 1. Not used by this version.
   */
  maxParallel: number;
}

/**
 * Secure: mutual TLS between the agents. Insecure: in the clear, faster, for networks that nobody else can reach.
 * Default Secure. Not used by this version, which is always Secure.
 */
export type TransferType = "Secure" | "Insecure";

/**
 * How guests under HA are guarded.
 */
export interface ClusterHA {
  /**
   * What happens to guests under HA when their node shuts down in order. Conditional: freeze them on reboot, fail over
   * on power off. Freeze: they wait for the node. Failover: they start elsewhere after it is off. Migrate: they are
   * moved away before. Default Conditional.
   */
  shutdownPolicy: ShutdownPolicy;
  /**
   * Starts, stops and moves that run at once on a node. Default 4.
   */
  maxWorkers: number;
  /**
   * Time-out of the watchdog on every node, in seconds. Default 10. A node without quorum is reset at most this long
   * after the last pet; with three nodes and defaults that is at most 19.3 s after a cut. Recovery elsewhere waits for
   * it. The value the device really has is read back and used.
   */
  watchdogSeconds: number;
  /**
   * How a node is chosen where groups and rules leave a choice.
   */
  scheduler: HAScheduler;
  /**
   * Stop guarding the whole cluster, for work on the network. Freeze: guests stay as they are and are guarded again
   * after. Ignore: as if not under HA; you may start, stop and move them. Default: absent, which means armed. It takes
   * effect when running fences, recoveries and moves are over; see the condition Armed.
   */
  disarm?: DisarmMode;
}

/**
 * What happens to guests under HA when their node shuts down in order. Conditional: freeze them on reboot, fail over
 * on power off. Freeze: they wait for the node. Failover: they start elsewhere after it is off. Migrate: they are
 * moved away before. Default Conditional.
 */
export type ShutdownPolicy = "Conditional" | "Freeze" | "Failover" | "Migrate";

/**
 * How a node is chosen where groups and rules leave a choice.
 */
export interface HAScheduler {
  /**
   * Basic: the node with the fewest guests. Static: by the CPU and memory that guests are defined with. Dynamic: by
   * measured load. Default Basic.
   */
  mode: SchedulerMode;
  /**
   * Choose the best node when a guest is started, not only when it must move. Default false.
   */
  rebalanceOnStart: boolean;
  /**
   * Move guests, one at a time, while nodes are loaded unevenly. Default: absent, which means never; an empty object {}
   * turns it on with the defaults. Needs mode Static or Dynamic.
   */
  autoRebalance?: AutoRebalance;
}

/**
 * Basic: the node with the fewest guests. Static: by the CPU and memory that guests are defined with. Dynamic: by
 * measured load. Default Basic.
 */
export type SchedulerMode = "Basic" | "Static" | "Dynamic";

/**
 * Move guests, one at a time, while nodes are loaded unevenly. Default: absent, which means never; an empty object {}
 * turns it on with the defaults. Needs mode Static or Dynamic.
 */
export interface AutoRebalance {
  /**
   * BruteForce: the move with the smallest imbalance after it. TOPSIS: the move with the best score over CPU and memory.
   * Default BruteForce.
   */
  method: "BruteForce" | "TOPSIS";
  /**
   * Imbalance above which guests are moved, in percent (standard deviation of the node loads over their mean). Default
   * 30.
   */
  thresholdPercent: number;
  /**
   * Rounds in a row that the imbalance must last before a move. Default 3.
   */
  holdRounds: number;
  /**
   * By how much a move must lower the imbalance to be worth it, in percent of it. Default 10.
   */
  marginPercent: number;
}

/**
 * Stop guarding the whole cluster, for work on the network. Freeze: guests stay as they are and are guarded again
 * after. Ignore: as if not under HA; you may start, stop and move them. Default: absent, which means armed. It takes
 * effect when running fences, recoveries and moves are over; see the condition Armed.
 */
export type DisarmMode = "Freeze" | "Ignore";

/**
 * What the cluster is. Written by the controllers.
 */
export interface ClusterStatus {
  /**
   * The metadata.generation of the spec that this status answers.
   */
  observedGeneration?: number;
  /**
   * The vote count, as reported by the quorate part of the cluster.
   */
  quorum?: QuorumStatus;
  /**
   * The corosync configuration that is to be in force.
   */
  config?: ConfigStatus;
  /**
   * How many nodes there are.
   */
  nodes?: NodeCounts;
  /**
   * Name of the controller pod that decides for this cluster.
   */
  leader?: string;
  /**
   * The outside vote. Absent without spec.qdevice.
   */
  qdevice?: QDeviceStatus;
  /**
   * All times that follow from tokenMilliseconds, ha.watchdogSeconds and the number of nodes, each with its derivation.
   */
  timings?: ClusterTimings;
  /**
   * A change of the configuration that is under way. Absent when there is none.
   */
  rollout?: RolloutStatus;
  /**
   * What firewalls between the nodes must let through.
   */
  requiredPorts?: RequiredPort[];
  /**
   * What is true at the moment, each with a reason and a message: Ready (the summary), Quorate, ConfigInSync (every
   * member runs config.version), Armed (guests are guarded; reason Armed, Idle, Disarming or Disarmed),
   * QDeviceConnected, QuorumOverridden, TopologySound, TimingsSafe.
   */
  conditions?: Condition[];
}

/**
 * The vote count, as reported by the quorate part of the cluster.
 */
export interface QuorumStatus {
  /**
   * Whether a majority of the expected votes is present.
   */
  quorate?: boolean;
  /**
   * Votes of all members that should be there.
   */
  expectedVotes?: number;
  /**
   * Votes that are there now.
   */
  totalVotes?: number;
  /**
   * Votes needed to be quorate.
   */
  neededVotes?: number;
  /**
   * Identity of the current membership; it changes with every change of it.
   */
  ringId?: string;
  /**
   * Flags of the vote count, for example Quorate, Qdevice, 2Node.
   */
  flags?: string[];
  /**
   * Present, expected and needed votes in one word, for example 3/3 (2).
   */
  summary?: string;
}

/**
 * The corosync configuration that is to be in force.
 */
export interface ConfigStatus {
  /**
   * Its config_version, which only grows.
   */
  version?: number;
  /**
   * Transport, always knet.
   */
  transport?: string;
  /**
   * Cipher in force.
   */
  cipher?: string;
  /**
   * Message authentication in force.
   */
  hash?: string;
  /**
   * Token time that was published, in milliseconds.
   */
  tokenMilliseconds?: number;
  /**
   * Token and consensus time together, in milliseconds, of the slowest configuration that a host may still run. Each
   * that was published counts until every node reports that it runs the newest.
   */
  membershipChangeMilliseconds?: number;
}

/**
 * How many nodes there are.
 */
export interface NodeCounts {
  /**
   * Nodes declared.
   */
  total?: number;
  /**
   * Nodes that are members with a working agent.
   */
  online?: number;
  /**
   * Online and total in one word, for example 3/3.
   */
  summary?: string;
}

/**
 * The outside vote. Absent without spec.qdevice.
 */
export interface QDeviceStatus {
  /**
   * Connected: it votes. Disconnected: qnetd is not reached. Configuring: being set up. Suspended: taken out while the
   * nodes change. Unknown: no node reports.
   */
  state?: "Connected" | "Disconnected" | "Configuring" | "Suspended" | "Unknown";
  /**
   * Host in use.
   */
  host?: string;
  /**
   * Algorithm in force, FFSplit or LMS.
   */
  algorithm?: string;
  /**
   * Tie breaker in force.
   */
  tieBreaker?: string;
  /**
   * Votes that it has.
   */
  votes?: number;
  /**
   * What is wrong with it and what to do.
   */
  message?: string;
}

/**
 * All times that follow from tokenMilliseconds, ha.watchdogSeconds and the number of nodes, each with its derivation.
 */
export interface ClusterTimings {
  /**
   * Longest time after which a node that was cut off knows that it lost quorum.
   */
  membershipChange?: Timing;
  /**
   * Greatest age of the proof of quorum with which the watchdog is still petted.
   */
  quorumProofAge?: Timing;
  /**
   * Longest time from the last pet to the reset of the host.
   */
  watchdog?: Timing;
  /**
   * How long a majority must report a membership without a node before its guests are recovered.
   */
  fenceDelay?: Timing;
  /**
   * How long the lease of a node must not have changed before it can be taken.
   */
  leaseDuration?: Timing;
  /**
   * Longest time from a cut to the order to start the guests elsewhere.
   */
  recoveryBound?: Timing;
}

/**
 * Longest time after which a node that was cut off knows that it lost quorum.
 */
export interface Timing {
  /**
   * The time in milliseconds.
   */
  milliseconds?: number;
  /**
   * The sentence that derives it.
   */
  derivation?: string;
}

/**
 * A change of the configuration that is under way. Absent when there is none.
 */
export interface RolloutStatus {
  /**
   * The step, for example AddLink, Load, Verify, Restart, Revert, Join, Leave.
   */
  step?: string;
  /**
   * The node it waits for.
   */
  node?: string;
  /**
   * Why it waits or reverts and what to do.
   */
  reason?: string;
  /**
   * The config_version being rolled out.
   */
  configVersion?: number;
  /**
   * When the change began.
   */
  startedAt?: string;
}

/**
 * One range of ports.
 */
export interface RequiredPort {
  /**
   * Protocol.
   */
  protocol?: "UDP" | "TCP";
  /**
   * A port, or a range such as 5405-5412.
   */
  ports?: string;
  /**
   * Who connects: a network, or a word such as nodes.
   */
  from?: string;
  /**
   * To whom: a network, a host, or a word such as nodes.
   */
  to?: string;
  /**
   * What for.
   */
  purpose?: string;
}

/**
 * One condition.
 */
export interface Condition {
  /**
   * Which condition.
   */
  type: string;
  /**
   * Whether it holds.
   */
  status: "True" | "False" | "Unknown";
  /**
   * The metadata.generation for which it was found.
   */
  observedGeneration?: number;
  /**
   * When its status last changed.
   */
  lastTransitionTime: string;
  /**
   * Why, one CamelCase word for machines.
   */
  reason: string;
  /**
   * Why, and what to do, for people.
   */
  message: string;
}

/**
 * A host of the cluster. Its name is the name of the host, and of the Kubernetes node where it is one. Applying it
 * joins the host, deleting it removes the host in order (see spec.removalPolicy).
 */
export interface ClusterNode {
  apiVersion: "quorate.dev/v1alpha1";
  kind: "ClusterNode";
  /**
   * What is wanted of the host. Nothing is required.
   */
  spec: ClusterNodeSpec;
  /**
   * What the host is. Written by its agent (what it sees) and by the controllers (what they make of it).
   */
  status?: ClusterNodeStatus;
  metadata: ObjectMeta;
}

/**
 * What is wanted of the host. Nothing is required.
 */
export interface ClusterNodeSpec {
  /**
   * Id of the node in corosync. Default: allocated by the controller, the smallest that was not used. Cannot change once
   * set.
   */
  nodeId?: number;
  /**
   * Votes of the node. Default 1. With 0 it runs guests but has no say in quorum.
   */
  votes: number;
  /**
   * Addresses of the node on the links of the cluster. Default: the address it has in each link's network. Give one only
   * where the cluster's link has no network or the host has several addresses in it. Change one link at a time.
   */
  links?: ClusterNodeLink[];
  /**
   * Move the guests under HA away and start none here. Default false. The node stays a member and keeps its votes, also
   * over reboots; the guests come back when it ends (unless failback is off).
   */
  maintenance: boolean;
  /**
   * The watchdog device with which the node resets itself when it loses quorum.
   */
  watchdog: NodeWatchdog;
  /**
   * How it is made sure that the node is off before its guests start elsewhere. No fence device is asked in this
   * version: use mode Watchdog.
   */
  fencing: NodeFencing;
  /**
   * Checks that may fail when the node joins. Default: none; nothing is changed on the host while a check fails.
   * RoundTripTime: the network is slower than 10 ms. NoGuests: guests run here already. TimeInSync: the clocks differ.
   * No checks are made in this version.
   */
  ignorePrechecks?: ("RoundTripTime" | "NoGuests" | "TimeInSync")[];
  /**
   * What happens when this object is deleted. Drain: it waits until no guest is bound to the node (move them away
   * first), then removes the jobs to it, with their copies. Force: guests stay bound to the node, and the jobs to it are
   * removed. In both cases the node leaves the cluster only when its corosync is off, it is proven off, or it is
   * detached; the condition Removable says what is missing. Default Drain.
   */
  removalPolicy: "Drain" | "Force";
  /**
   * Separate this host from the cluster without reinstalling it. For a host that does not answer it is your word that it
   * is off. Delete the ClusterNode as well: only then does its agent stop corosync and wipe its files and keys. Default:
   * absent. Cannot be taken back.
   */
  detach?: NodeDetach;
}

/**
 * The address on one link.
 */
export interface ClusterNodeLink {
  /**
   * Number of the link, 0 to 7.
   */
  number: number;
  /**
   * IP address, or a host name that is resolved once when the node joins. The address in use is in status.links; when
   * DNS says something else later, AddressDrift=True.
   */
  address: string;
}

/**
 * The watchdog device with which the node resets itself when it loses quorum.
 */
export interface NodeWatchdog {
  /**
   * The device. Default /dev/watchdog0. Nothing else on the host may use it.
   */
  device: string;
  /**
   * Kernel module that provides the device, for example iTCO_wdt. Default: softdog where there is no device.
   */
  module?: string;
}

/**
 * How it is made sure that the node is off before its guests start elsewhere. No fence device is asked in this
 * version: use mode Watchdog.
 */
export interface NodeFencing {
  /**
   * Watchdog: the node resets itself, and the time for it is waited out. Hardware: a fence device must confirm that it
   * is off. Both: whichever proves it first. Default Watchdog. No device is asked in this version: with Hardware nothing
   * is recovered when the node is lost, and Both acts as Watchdog.
   */
  mode: FencingMode;
  /**
   * Fence devices that can switch this node off. Default none. Used in the order of their level; those of one level are
   * one step and must all confirm. Not used by this version.
   */
  devices?: FenceDevice[];
  /**
   * What follows a proven fence. Recover: the guests start elsewhere. None: they wait for you. Default Recover. Ignored
   * by this version: it always recovers.
   */
  afterSuccess: "Recover" | "None";
  /**
   * What follows when no device of a Hardware or Both fence confirms. None: the guests wait. Recover: they start
   * elsewhere as soon as the watchdog's time is over (mode Both only). Default None. Ignored by this version, which asks
   * no device.
   */
  afterFailure: "None" | "Recover";
}

/**
 * Watchdog: the node resets itself, and the time for it is waited out. Hardware: a fence device must confirm that it
 * is off. Both: whichever proves it first. Default Watchdog. No device is asked in this version: with Hardware nothing
 * is recovered when the node is lost, and Both acts as Watchdog.
 */
export type FencingMode = "Watchdog" | "Hardware" | "Both";

/**
 * One fence device.
 */
export interface FenceDevice {
  /**
   * Name of the device in messages.
   */
  name: string;
  /**
   * The fence agent of the distribution that speaks to the device, for example fence_ipmilan or fence_redfish.
   */
  agent: string;
  /**
   * Order of use, 1 first. Default 1. The next level is used when the one before fails.
   */
  level: number;
  /**
   * Parameters of the fence agent, for example ip, plug, lanplus. No secrets: they are readable by whoever reads this
   * object.
   */
  parameters?: Record<string, string>;
  /**
   * Secret in this namespace whose keys are further parameters, for example password.
   */
  secretRef?: LocalSecretReference;
}

/**
 * Secret in this namespace whose keys are further parameters, for example password.
 */
export interface LocalSecretReference {
  /**
   * Name of the Secret.
   */
  name: string;
}

/**
 * Separate this host from the cluster without reinstalling it. For a host that does not answer it is your word that it
 * is off. Delete the ClusterNode as well: only then does its agent stop corosync and wipe its files and keys. Default:
 * absent. Cannot be taken back.
 */
export interface NodeDetach {
  /**
   * The name of this node, as confirmation.
   */
  confirm: string;
}

/**
 * What the host is. Written by its agent (what it sees) and by the controllers (what they make of it).
 */
export interface ClusterNodeStatus {
  /**
   * The metadata.generation of the spec that the membership controller answered.
   */
  observedGeneration?: number;
  /**
   * What HA takes the node for. Online: a member. Maintenance: guests leave or have left. Unknown: not a member; guests
   * under HA that belong to it wait for the proof that it is off. Fence: proven off, its Lease is being taken. Gone:
   * removed; forgotten after an hour.
   */
  state?: NodeState;
  /**
   * Since when it has this state.
   */
  stateSince?: string;
  /**
   * Node id in corosync.
   */
  nodeId?: number;
  /**
   * Votes in force.
   */
  votes?: number;
  /**
   * The addresses in use, one a link. Fixed when the node joined.
   */
  links?: NodeLinkAddress[];
  /**
   * How the links are, as seen from this node.
   */
  linkStatus?: NodeLinkStatus[];
  /**
   * Links that reach every other member, of links there are, for example 2/2.
   */
  linksUp?: string;
  /**
   * Addresses of the host, from which those for links and migrations are chosen.
   */
  addresses?: NodeAddress[];
  /**
   * Size of the host, for the schedulers.
   */
  capacity?: NodeCapacity;
  /**
   * Measured load of the host over about a minute, for the scheduler Dynamic. Written when it changes by more than a
   * tenth, at most every 30 seconds.
   */
  usage?: NodeUsage;
  /**
   * The HA part of the agent.
   */
  lrm?: LRMStatus;
  /**
   * Corosync as seen on the host.
   */
  corosync?: CorosyncStatus;
  /**
   * The agent of the host.
   */
  agent?: AgentStatus;
  /**
   * The watchdog, in the words of the keeper that owns it.
   */
  watchdog?: WatchdogStatus;
  /**
   * The checks before the host joins. Not made by this version.
   */
  prechecks?: Precheck[];
  /**
   * What is known about the fencing of this node.
   */
  fence?: FenceStatus;
  /**
   * What is true at the moment, each with a reason and a message: Ready (the summary), Member (in the quorate
   * membership), AgentReady, LinksHealthy, WatchdogArmed, Removable (why it can or cannot be removed), AddressDrift (a
   * host name resolves to another address now).
   */
  conditions?: Condition[];
}

/**
 * What HA takes the node for. Online: a member. Maintenance: guests leave or have left. Unknown: not a member; guests
 * under HA that belong to it wait for the proof that it is off. Fence: proven off, its Lease is being taken. Gone:
 * removed; forgotten after an hour.
 */
export type NodeState = "Online" | "Maintenance" | "Unknown" | "Fence" | "Gone";

/**
 * The address in use on one link.
 */
export interface NodeLinkAddress {
  /**
   * Number of the link.
   */
  number: number;
  /**
   * IP address in use.
   */
  address?: string;
  /**
   * The name it was resolved from. Absent where an address was given or found.
   */
  hostName?: string;
  /**
   * What the name resolves to now. Absent unless it differs from address.
   */
  resolvesTo?: string;
}

/**
 * One link as seen from this node.
 */
export interface NodeLinkStatus {
  /**
   * Number of the link.
   */
  number: number;
  /**
   * The address corosync is bound to.
   */
  address?: string;
  /**
   * Other members reached over this link.
   */
  peersUp?: number;
  /**
   * Other members there are.
   */
  peersTotal?: number;
}

/**
 * One address of the host.
 */
export interface NodeAddress {
  /**
   * Network interface.
   */
  interface: string;
  /**
   * Address and prefix length, for example 10.6.0.1/24.
   */
  address: string;
}

/**
 * Size of the host, for the schedulers.
 */
export interface NodeCapacity {
  /**
   * CPUs.
   */
  cpu?: number;
  /**
   * Memory in bytes.
   */
  memoryBytes?: number;
}

/**
 * Measured load of the host over about a minute, for the scheduler Dynamic. Written when it changes by more than a
 * tenth, at most every 30 seconds.
 */
export interface NodeUsage {
  /**
   * CPU in use in thousandths of a CPU.
   */
  cpuMillicores?: number;
  /**
   * Memory in use in bytes.
   */
  memoryBytes?: number;
  /**
   * When it was measured.
   */
  measuredAt?: string;
}

/**
 * The HA part of the agent.
 */
export interface LRMStatus {
  /**
   * Idle: no guest under HA here, no lease held. Active: it holds the lease and works. Lost: it cannot renew the lease
   * and starts nothing new. Maintenance: the guests leave. Restart: it is being updated and the guests are frozen.
   * Shutdown: the host goes down. Stopped: it let go of everything.
   */
  mode?: LRMMode;
  /**
   * Since when it has this mode.
   */
  since?: string;
  /**
   * Guests under HA that keep it active.
   */
  activeGuests?: number;
  /**
   * Epoch of the lease it holds (its leaseTransitions).
   */
  epoch?: number;
}

/**
 * Idle: no guest under HA here, no lease held. Active: it holds the lease and works. Lost: it cannot renew the lease
 * and starts nothing new. Maintenance: the guests leave. Restart: it is being updated and the guests are frozen.
 * Shutdown: the host goes down. Stopped: it let go of everything.
 */
export type LRMMode = "Idle" | "Active" | "Lost" | "Maintenance" | "Restart" | "Shutdown" | "Stopped";

/**
 * Corosync as seen on the host.
 */
export interface CorosyncStatus {
  /**
   * Version of the program.
   */
  version?: string;
  /**
   * Whether it runs.
   */
  running?: boolean;
  /**
   * Version of the configuration that it runs.
   */
  configVersion?: number;
  /**
   * Token time that it runs with, in milliseconds. Of a host that does not say, the last that was seen: fencing counts
   * with it.
   */
  tokenMilliseconds?: number;
  /**
   * Consensus time that it runs with, in milliseconds, likewise.
   */
  consensusMilliseconds?: number;
  /**
   * Whether it is quorate.
   */
  quorate?: boolean;
  /**
   * Its membership.
   */
  ringId?: string;
  /**
   * Node ids it sees in the membership.
   */
  members?: number[];
  /**
   * Flags of the QDevice on this node: A or NA (alive), V or NV (votes), MW or NMW (master wins), for example A,V,NMW.
   */
  qdeviceFlags?: string;
  /**
   * The last time a configuration was loaded on this host.
   */
  lastLoad?: ConfigLoad;
}

/**
 * The last time a configuration was loaded on this host.
 */
export interface ConfigLoad {
  /**
   * The version that was to be loaded.
   */
  configVersion?: number;
  /**
   * Loaded: it runs. Restored: loading failed and the file before it is back. Refused: nothing was changed, see message.
   */
  outcome?: "Loaded" | "Restored" | "Refused";
  /**
   * What went wrong and what to do.
   */
  message?: string;
  /**
   * When.
   */
  at?: string;
}

/**
 * The agent of the host.
 */
export interface AgentStatus {
  /**
   * Its version.
   */
  version?: string;
  /**
   * DaemonSet: a pod on the host. SystemdUnit: a unit of a host that is no Kubernetes node.
   */
  mode?: "DaemonSet" | "SystemdUnit";
  /**
   * When it last wrote this, about once a minute; the lease quorate-agent-<node> is the heartbeat.
   */
  lastSeen?: string;
  /**
   * Identity of the host's current boot.
   */
  bootId?: string;
  /**
   * Where other agents reach it for replication and migration.
   */
  transferEndpoint?: TransferEndpoint;
}

/**
 * Where other agents reach it for replication and migration.
 */
export interface TransferEndpoint {
  /**
   * IP address, that of the first link.
   */
  address?: string;
  /**
   * TCP port.
   */
  port?: number;
}

/**
 * The watchdog, in the words of the keeper that owns it.
 */
export interface WatchdogStatus {
  /**
   * Device in use.
   */
  device?: string;
  /**
   * What the device says it is, for example Software Watchdog.
   */
  identity?: string;
  /**
   * Time-out read back from the device, in seconds. While the keeper does not say, the last that it said: fencing waits
   * for it. Absent when it is certain that the device is closed.
   */
  timeoutSeconds?: number;
  /**
   * Whether the host resets when it is not petted.
   */
  armed?: boolean;
  /**
   * Time-out and state in one word, for example 10s armed.
   */
  summary?: string;
  /**
   * What is wrong with it and what to do.
   */
  message?: string;
}

/**
 * One check.
 */
export interface Precheck {
  /**
   * Which: Ports, TimeInSync, CorosyncVersion, RoundTripTime, NoGuests, Addresses, Watchdog.
   */
  name: string;
  /**
   * Whether it passed; a passed check may carry a warning in its message.
   */
  passed: boolean;
  /**
   * CamelCase reason.
   */
  reason?: string;
  /**
   * What was found and what to do.
   */
  message?: string;
}

/**
 * What is known about the fencing of this node.
 */
export interface FenceStatus {
  /**
   * While it is no member, why it is not proven off yet, one sentence each; after the fence, what proved it. Absent
   * while it is a member.
   */
  proofReasons?: string[];
  /**
   * The last time the node was fenced.
   */
  lastFence?: FenceRecord;
}

/**
 * The last time the node was fenced.
 */
export interface FenceRecord {
  /**
   * When it was proven off.
   */
  at?: string;
  /**
   * Why it was fenced.
   */
  reason?: string;
  /**
   * What proved it: Watchdog, Released, or the name of a fence device.
   */
  by?: string;
}

/**
 * A virtual machine or a service that runs on one of the hosts. Tags are labels; notes are the annotation
 * quorate.dev/notes. Put it under HA with an HAResource of the same name.
 */
export interface Guest {
  apiVersion: "quorate.dev/v1alpha1";
  kind: "Guest";
  /**
   * What the guest is and where it lives. Exactly one of machine, container and service is given.
   */
  spec: GuestSpec;
  /**
   * What the guest does. Written by the agent of the node that owns it.
   */
  status?: GuestStatus;
  metadata: ObjectMeta;
}

/**
 * What the guest is and where it lives. Exactly one of machine, container and service is given.
 */
export interface GuestSpec {
  /**
   * Number of the guest, unique in the cluster; volumes and snapshots are named after it. Default: allocated by the
   * controller from Cluster.spec.guestIds. Cannot change once set.
   */
  vmid?: number;
  /**
   * The node that owns the guest: only its agent starts it. Set it once, to where the guest is made; after that the
   * controllers set it when they move the guest. To move it yourself, create a Migration. Default: none, the guest waits
   * until it is set.
   */
  nodeName?: string;
  /**
   * Start the guest when its node has booted and is quorate. Default false. Not used by this version: put the guest
   * under HA, where the HAResource says what should be.
   */
  onBoot: boolean;
  /**
   * Place in the order of starting on boot, smallest first; stopping goes the other way. Default: after all that have
   * one, by vmid. Not used by this version.
   */
  startOrder?: number;
  /**
   * Seconds to wait after this guest before the next one is started on boot. Default 0. Not used by this version.
   */
  startDelaySeconds: number;
  /**
   * Size of the guest. A change takes effect at its next start.
   */
  resources: GuestResources;
  /**
   * Disks of the guest, the first is the one it boots from. Default: none.
   */
  volumes?: GuestVolume[];
  /**
   * A virtual machine.
   */
  machine?: GuestMachine;
  /**
   * A system container (LXC). Not run by this version.
   */
  container?: GuestContainer;
  /**
   * A systemd unit of the host, which must exist on every node where the guest may run.
   */
  service?: GuestService;
}

/**
 * Size of the guest. A change takes effect at its next start.
 */
export interface GuestResources {
  /**
   * CPUs. Default 1. With 0 a container or service has no limit and counts as all CPUs of its node.
   */
  cpu: number;
  /**
   * Memory, for example 2Gi. Default 512Mi.
   */
  memory: string;
}

/**
 * One disk.
 */
export interface GuestVolume {
  /**
   * Name of the volume; with the vmid it names the dataset (vm-<vmid>-<name>).
   */
  name: string;
  /**
   * Name of a storage in Cluster.spec.storages. Cannot change.
   */
  storage: string;
  /**
   * Size, for example 8Gi. It cannot shrink, and growing a volume that exists has no effect in this version.
   */
  size: string;
  /**
   * Whether the ReplicationJobs of the guest take this volume along. Default true. Without effect on type Directory,
   * which is never replicated.
   */
  replicate: boolean;
}

/**
 * A virtual machine.
 */
export interface GuestMachine {
  /**
   * QEMU: run as a systemd unit of the host. Libvirt: not run by this version. Default QEMU. Cannot change.
   */
  driver: MachineDriver;
  /**
   * Name of a file in the image folder of the host (/var/lib/quorate/images), never a path. With what the first volume
   * is filled when it is made, for example debian-12. Not read again after that. Default: none, the volume starts empty.
   */
  image?: string;
  /**
   * Name of a file in the image folder of the host (/var/lib/quorate/images), never a path. Kernel to boot directly.
   * Default: none, the machine boots from its first volume.
   */
  kernel?: string;
  /**
   * Name of a file in the image folder of the host (/var/lib/quorate/images), never a path. Initial ramdisk for the
   * kernel. Default: none.
   */
  initrd?: string;
  /**
   * Command line for the kernel. Default: console=ttyS0.
   */
  commandLine?: string;
  /**
   * Network interfaces. Default: none.
   */
  networks?: GuestNetwork[];
  /**
   * Whether the QEMU guest agent runs inside. Enabled: its file systems are frozen for the moment of a snapshot. Default
   * Disabled. Ignored by this version: a snapshot is of the moment, as after a power cut.
   */
  agent: "Enabled" | "Disabled";
  /**
   * Name of a file in the image folder of the host (/var/lib/quorate/images), never a path. Definition of a libvirt
   * domain, a template in which the volumes are filled in. Driver Libvirt only. Default: one is made from the other
   * fields.
   */
  xml?: string;
}

/**
 * QEMU: run as a systemd unit of the host. Libvirt: not run by this version. Default QEMU. Cannot change.
 */
export type MachineDriver = "QEMU" | "Libvirt";

/**
 * One network interface.
 */
export interface GuestNetwork {
  /**
   * Name of the interface in this list.
   */
  name: string;
  /**
   * Bridge of the host that it is plugged into, the same name on every node, for example br0.
   */
  bridge: string;
  /**
   * Hardware address, for example 52:54:00:12:34:56. Default: derived from cluster, vmid and name, so it stays the same.
   */
  macAddress?: string;
}

/**
 * A system container (LXC). Not run by this version.
 */
export interface GuestContainer {
  /**
   * Name of a file in the image folder of the host (/var/lib/quorate/images), never a path. Configuration of the LXC
   * container, a template in which name, volumes, cpu and memory are filled in.
   */
  config: string;
}

/**
 * A systemd unit of the host, which must exist on every node where the guest may run.
 */
export interface GuestService {
  /**
   * Name of the unit, for example nginx.service. It must not be enabled in systemd, or two would start it.
   */
  unit: string;
}

/**
 * What the guest does. Written by the agent of the node that owns it.
 */
export interface GuestStatus {
  /**
   * The metadata.generation of the spec that this status answers.
   */
  observedGeneration?: number;
  /**
   * What kind of guest it is.
   */
  kind?: "Machine" | "Container" | "Service";
  /**
   * What it does. Unknown: the driver cannot say. Failed: it ended by itself or could not start.
   */
  state?: GuestState;
  /**
   * Where it runs, or ran last, which is the node whose disks hold its newest data.
   */
  node?: string;
  /**
   * Its main process on the host.
   */
  pid?: number;
  /**
   * When it was started, the last time and wherever that was.
   */
  startedAt?: string;
  /**
   * What holds it at the moment and blocks start, stop and move, for example Snapshot, Backup, Migrate.
   */
  lock?: string;
  /**
   * What is wrong with it and what to do.
   */
  message?: string;
  /**
   * Measured load of a running guest over about a minute, for the scheduler Dynamic. Written when it changes by more
   * than a tenth, at most every 30 seconds.
   */
  usage?: GuestUsage;
  /**
   * The volumes as they are on the node.
   */
  volumes?: GuestVolumeStatus[];
  /**
   * What is true at the moment, each with a reason and a message: Ready (the summary), DataPresent (all volumes are
   * there).
   */
  conditions?: Condition[];
}

/**
 * What it does. Unknown: the driver cannot say. Failed: it ended by itself or could not start.
 */
export type GuestState = "Running" | "Stopped" | "Starting" | "Stopping" | "Unknown" | "Failed";

/**
 * Measured load of a running guest over about a minute, for the scheduler Dynamic. Written when it changes by more
 * than a tenth, at most every 30 seconds.
 */
export interface GuestUsage {
  /**
   * CPU in use in thousandths of a CPU.
   */
  cpuMillicores?: number;
  /**
   * Memory in use in bytes.
   */
  memoryBytes?: number;
  /**
   * When it was measured.
   */
  measuredAt?: string;
}

/**
 * One volume.
 */
export interface GuestVolumeStatus {
  /**
   * Name of the volume.
   */
  name: string;
  /**
   * Where it is: the ZFS dataset, or the path.
   */
  dataset?: string;
  /**
   * Identity of the dataset (ZFS guid, btrfs UUID), a decimal number or UUID.
   */
  guid?: string;
  /**
   * Size in bytes.
   */
  sizeBytes?: number;
}

/**
 * Puts the guest of the same name under HA: it is kept in the state asked for, and started elsewhere when its node
 * dies. Deleting it takes the guest out of HA and does not touch it.
 */
export interface HAResource {
  apiVersion: "quorate.dev/v1alpha1";
  kind: "HAResource";
  /**
   * What is wanted of the guest. Nothing is required.
   */
  spec: HAResourceSpec;
  /**
   * What HA does with the guest. Written by the controllers, except result, which the agent of its node writes.
   */
  status?: HAResourceStatus;
  metadata: ObjectMeta;
}

/**
 * What is wanted of the guest. Nothing is required.
 */
export interface HAResourceSpec {
  /**
   * Started: keep it running, somewhere. Stopped: keep it stopped, and move it off dead nodes. Disabled: stop it and
   * leave it; also the way out of the state Error. Ignored: as if it were not under HA. Default Started.
   */
  state: RequestedState;
  /**
   * Name of an HAGroup that says which nodes it prefers. Default: none, all nodes are equal.
   */
  group?: string;
  /**
   * How often a failed start is tried again on the same node. Default 1.
   */
  maxRestart: number;
  /**
   * To how many other nodes it is moved when it does not start. Default 1. Nodes that were tried are not tried again;
   * the count begins anew after a successful start.
   */
  maxRelocate: number;
  /**
   * Whether it goes back to a better node when one comes back. Default true.
   */
  failback: boolean;
  /**
   * Seconds it has to shut down when it is stopped, after which it is switched off. 0 switches it off at once. Default
   * 60.
   */
  stopTimeoutSeconds: number;
}

/**
 * Started: keep it running, somewhere. Stopped: keep it stopped, and move it off dead nodes. Disabled: stop it and
 * leave it; also the way out of the state Error. Ignored: as if it were not under HA. Default Started.
 */
export type RequestedState = "Started" | "Stopped" | "Disabled" | "Ignored";

/**
 * What HA does with the guest. Written by the controllers, except result, which the agent of its node writes.
 */
export interface HAResourceStatus {
  /**
   * The metadata.generation of the spec that this status answers.
   */
  observedGeneration?: number;
  /**
   * Queued: not looked at yet. RequestStart: to be started. RequestStartBalance: to be started, its node is being
   * chosen. Starting, Stopping: under way. Started, Stopped: done and kept so. RequestStop: to be stopped. Fence: its
   * node is lost, and the proof that it is off is waited for. Recovery: a new node is being chosen. Freeze: left as it
   * is. Migrate: moving while it runs. Relocate: stopped, moved, started. Error: given up; see message. Ignored: not
   * under HA. Disabled: stopped and left.
   */
  state?: HAState;
  /**
   * The node it belongs to now.
   */
  node?: string;
  /**
   * The node it is moving to.
   */
  target?: string;
  /**
   * The node it left because of maintenance and goes back to when that ends.
   */
  home?: string;
  /**
   * Whether the proof of its node's fence by waiting holds for it: its agent has answered for it under an armed
   * watchdog. Otherwise it stays on a lost node until that is back.
   */
  guarded?: boolean;
  /**
   * Since when it has this state.
   */
  since?: string;
  /**
   * What it waits for, or what is wrong and what to do.
   */
  message?: string;
  /**
   * What the agent of its node is to do, once.
   */
  command?: HACommand;
  /**
   * What came of the last command. Written by the agent.
   */
  result?: HAResult;
  /**
   * Failed starts so far. Cleared by a success.
   */
  attempts?: HAAttempts;
  /**
   * The last time it was started elsewhere because its node was lost.
   */
  lastFailover?: Failover;
  /**
   * What is true at the moment, each with a reason and a message: Ready (it is as asked for), Error (it was given up;
   * the message says the way out).
   */
  conditions?: Condition[];
}

/**
 * Queued: not looked at yet. RequestStart: to be started. RequestStartBalance: to be started, its node is being
 * chosen. Starting, Stopping: under way. Started, Stopped: done and kept so. RequestStop: to be stopped. Fence: its
 * node is lost, and the proof that it is off is waited for. Recovery: a new node is being chosen. Freeze: left as it
 * is. Migrate: moving while it runs. Relocate: stopped, moved, started. Error: given up; see message. Ignored: not
 * under HA. Disabled: stopped and left.
 */
export type HAState =
  | "Queued"
  | "RequestStart"
  | "RequestStartBalance"
  | "Starting"
  | "Started"
  | "RequestStop"
  | "Stopping"
  | "Stopped"
  | "Fence"
  | "Recovery"
  | "Freeze"
  | "Migrate"
  | "Relocate"
  | "Error"
  | "Ignored"
  | "Disabled";

/**
 * What the agent of its node is to do, once.
 */
export interface HACommand {
  /**
   * Identity of the command; the result echoes it.
   */
  uid: string;
  /**
   * What to do. None and Freeze: leave it. Error: leave it, it was given up.
   */
  action: HAAction;
  /**
   * Where to move it.
   */
  target?: string;
  /**
   * Seconds to stop it in; 0 switches it off at once.
   */
  timeoutSeconds?: number;
}

/**
 * What to do. None and Freeze: leave it. Error: leave it, it was given up.
 */
export type HAAction = "None" | "Start" | "Stop" | "Migrate" | "Relocate" | "Freeze" | "Error";

/**
 * What came of the last command. Written by the agent.
 */
export interface HAResult {
  /**
   * The command it answers.
   */
  uid: string;
  /**
   * Ok: done. Failed: not done, see message. WrongNode: the guest does not belong to this node. TryAgain: not now.
   * Locked: something else holds the guest.
   */
  outcome: HAOutcome;
  /**
   * The last lines of what failed.
   */
  message?: string;
  /**
   * Exit status of the command that failed.
   */
  exitCode?: number;
  /**
   * Starts that failed on this node since the last success.
   */
  restarts?: number;
  /**
   * When it was done.
   */
  finishedAt?: string;
}

/**
 * Ok: done. Failed: not done, see message. WrongNode: the guest does not belong to this node. TryAgain: not now.
 * Locked: something else holds the guest.
 */
export type HAOutcome = "Ok" | "Failed" | "WrongNode" | "TryAgain" | "Locked";

/**
 * Failed starts so far. Cleared by a success.
 */
export interface HAAttempts {
  /**
   * Failed starts on the present node.
   */
  restarts?: number;
  /**
   * Moves to another node because of them.
   */
  relocations?: number;
  /**
   * Nodes on which it did not start, in order.
   */
  triedNodes?: string[];
}

/**
 * The last time it was started elsewhere because its node was lost.
 */
export interface Failover {
  /**
   * The node that was lost.
   */
  from?: string;
  /**
   * The node that took it.
   */
  to?: string;
  /**
   * Why the node counted as lost.
   */
  reason?: string;
  /**
   * When the node was last seen as a member.
   */
  cutAt?: string;
  /**
   * When it was proven off.
   */
  fencedAt?: string;
  /**
   * When the guest ran again.
   */
  startedAt?: string;
  /**
   * How old the replica was that it was started from, in seconds; 0 on shared storage.
   */
  ageOfDataSeconds?: number;
}

/**
 * Nodes that guests prefer, in classes of priority. An HAResource uses it by spec.group. A guest runs on the nodes of
 * the highest priority that are online, spread equally among them.
 */
export interface HAGroup {
  apiVersion: "quorate.dev/v1alpha1";
  kind: "HAGroup";
  /**
   * Which nodes, and how strictly.
   */
  spec: HAGroupSpec;
  /**
   * What became of the group. Written by the controllers.
   */
  status?: HAGroupStatus;
  metadata: ObjectMeta;
}

/**
 * Which nodes, and how strictly.
 */
export interface HAGroupSpec {
  /**
   * The nodes of the group.
   */
  nodes: NodePriority[];
  /**
   * Whether guests may run on these nodes only. Default false: when none of them is online, they run on any other. When
   * true, they then wait.
   */
  restricted: boolean;
  /**
   * Whether guests go back to a node of higher priority when it comes back. Default true.
   */
  failback: boolean;
}

/**
 * A node and its priority.
 */
export interface NodePriority {
  /**
   * Name of a ClusterNode.
   */
  name: string;
  /**
   * The higher, the more preferred. Default 0.
   */
  priority: number;
}

/**
 * What became of the group. Written by the controllers.
 */
export interface HAGroupStatus {
  /**
   * The metadata.generation of the spec that this status answers.
   */
  observedGeneration?: number;
  /**
   * HAResources that use this group.
   */
  resources?: number;
  /**
   * What is true at the moment, each with a reason and a message: Ready (all of its nodes exist).
   */
  conditions?: Condition[];
}

/**
 * A rule about where guests under HA run: on which nodes, together, or apart. A rule that cannot hold with the others
 * is not in force and says why in its condition Ready.
 */
export interface HARule {
  apiVersion: "quorate.dev/v1alpha1";
  kind: "HARule";
  /**
   * The rule. Exactly one of nodeAffinity and resourceAffinity is given.
   */
  spec: HARuleSpec;
  /**
   * What became of the rule. Written by the controllers.
   */
  status?: HARuleStatus;
  metadata: ObjectMeta;
}

/**
 * The rule. Exactly one of nodeAffinity and resourceAffinity is given.
 */
export interface HARuleSpec {
  /**
   * Whether the rule is to be in force. Default true.
   */
  enabled: boolean;
  /**
   * These guests run on these nodes.
   */
  nodeAffinity?: NodeAffinity;
  /**
   * These guests run on the same node, or on different ones. Always strict.
   */
  resourceAffinity?: ResourceAffinity;
}

/**
 * These guests run on these nodes.
 */
export interface NodeAffinity {
  /**
   * Names of HAResources. A guest can be in one rule of this kind only.
   */
  resources: string[];
  /**
   * The nodes.
   */
  nodes: NodePriority[];
  /**
   * Whether the guests may run on these nodes only. Default false: when none of them is online, they run on any other.
   * When true, they then wait.
   */
  strict: boolean;
}

/**
 * These guests run on the same node, or on different ones. Always strict.
 */
export interface ResourceAffinity {
  /**
   * Names of at least two HAResources.
   */
  resources: string[];
  /**
   * Together: all on one node; rules that share a guest act as one. Apart: each on another node, so there can be no more
   * of them than nodes.
   */
  affinity: "Together" | "Apart";
}

/**
 * What became of the rule. Written by the controllers.
 */
export interface HARuleStatus {
  /**
   * The metadata.generation of the spec that this status answers.
   */
  observedGeneration?: number;
  /**
   * What is true at the moment, each with a reason and a message: Ready (in force, or why not).
   */
  conditions?: Condition[];
}

/**
 * Copies the volumes of a guest to another node on a schedule, so that HA can start it there. Its name is
 * <guest>-<target>, so there is one for each guest and target.
 */
export interface ReplicationJob {
  apiVersion: "quorate.dev/v1alpha1";
  kind: "ReplicationJob";
  /**
   * What is copied where and when.
   */
  spec: ReplicationJobSpec;
  /**
   * What the job does. Written by the replication controller and by the agent that sends.
   */
  status?: ReplicationJobStatus;
  metadata: ObjectMeta;
}

/**
 * What is copied where and when.
 */
export interface ReplicationJobSpec {
  /**
   * Name of the Guest. Cannot change.
   */
  guest: string;
  /**
   * Name of the ClusterNode that gets the copy. Cannot change. When the guest moves there, the job turns round by itself
   * and copies to where it came from (see status.target).
   */
  target: string;
  /**
   * Number of the job among those of its guest; with the vmid it makes the job's identity, as in 100-0. Default:
   * allocated by the controller. Cannot change once set.
   */
  number?: number;
  /**
   * When it runs, a calendar event: days and times, where a bare number is minutes. Default * /15, every 15 minutes.
   * Others: "* /5", "22:30", "mon..fri 8..17:0/15", "sat 3:00", hourly, daily, weekly. Missed runs are made up for by
   * one. "quorate schedule" prints what a schedule means.
   */
  schedule: string;
  /**
   * Time zone of the schedule, for example Europe/Berlin. Default UTC.
   */
  timeZone: string;
  /**
   * Most it sends in a second, in MB (10^6 bytes). Default: no limit.
   */
  rateMBps?: number;
  /**
   * Do not run by schedule. Default false. A run that is under way is finished.
   */
  suspend: boolean;
  /**
   * Any new value starts a run at once, for example the present time; status.observedRunNow echoes it when the run has
   * begun. Default: none.
   */
  runNow?: string;
  /**
   * Snapshots that are kept beyond the one that the next run needs.
   */
  retention: Retention;
  /**
   * How the data is sent. Not used by this version.
   */
  transfer: ReplicationTransfer;
  /**
   * What becomes of the copy on the target when the job is deleted. Delete: removed. Keep: left. Default Delete.
   */
  removalPolicy: "Delete" | "Keep";
}

/**
 * Snapshots that are kept beyond the one that the next run needs.
 */
export interface Retention {
  /**
   * On the node that sends.
   */
  source: RetentionPolicy;
  /**
   * On the node that receives.
   */
  target: RetentionPolicy;
}

/**
 * On the node that sends.
 */
export interface RetentionPolicy {
  /**
   * How many of the newest are kept. Default 0.
   */
  last: number;
  /**
   * Intervals in which one snapshot each is kept, joined by |, for example 24x1h|7x1d|4x1w. Default: none. Ignored by
   * this version: use last.
   */
  grid?: string;
}

/**
 * How the data is sent. Not used by this version.
 */
export interface ReplicationTransfer {
  /**
   * Secure: mutual TLS between the agents. Insecure: in the clear. Default: Cluster.spec.migration.type. Not used by
   * this version, which is always Secure.
   */
  type?: TransferType;
  /**
   * Network for the data as CIDR. Default: Cluster.spec.migration.network. Not used by this version, which always takes
   * that of the first link.
   */
  network?: string;
  /**
   * Auto: Zstd where the network is slower than the compressor, as with a low rateMBps. None: never. Zstd: always.
   * Default Auto. Not used by this version, which never compresses.
   */
  compression: "Auto" | "None" | "Zstd";
}

/**
 * What the job does. Written by the replication controller and by the agent that sends.
 */
export interface ReplicationJobStatus {
  /**
   * The metadata.generation of the spec that this status answers.
   */
  observedGeneration?: number;
  /**
   * Identity of the job, <vmid>-<number>, for example 100-0.
   */
  jobId?: string;
  /**
   * The node that sends, which is the one that owns the guest.
   */
  source?: string;
  /**
   * The node that receives: spec.target, or the node the guest came from when it has moved to spec.target.
   */
  target?: string;
  /**
   * Idle: waits for its time. Running: sends. Failed: the last run failed, it is tried again. Suspended: does not run by
   * schedule.
   */
  state?: ReplicationState;
  /**
   * The last runNow for which a run was started.
   */
  observedRunNow?: string;
  /**
   * When the last run began.
   */
  lastTry?: string;
  /**
   * Time of the newest snapshot that status.target has completely; absent when it has none of this job.
   */
  lastSync?: string;
  /**
   * When it runs next.
   */
  nextSync?: string;
  /**
   * How old the copy was when this was written; lastSync says it exactly.
   */
  ageOfDataSeconds?: number;
  /**
   * Seconds that the last successful run took.
   */
  durationSeconds?: number;
  /**
   * Failed runs since the last success.
   */
  failCount?: number;
  /**
   * The last run.
   */
  lastRun?: ReplicationRun;
  /**
   * The newest snapshot that status.target has completely.
   */
  snapshot?: SnapshotReference;
  /**
   * What this job has brought to each node, when the guest moves and the job turns round also to others than
   * status.target.
   */
  copies?: ReplicaCopy[];
  /**
   * Identity, on the first volume, of the snapshot that the last run sent from; absent when it was full.
   */
  baseGuid?: string;
  /**
   * The same for each volume.
   */
  volumes?: ReplicatedVolume[];
  /**
   * How far a transfer is. Refreshed every few seconds while it runs.
   */
  progress?: TransferProgress;
  /**
   * The last lines of the logs of the last runs, of those that failed and of those that succeeded.
   */
  log?: string[];
  /**
   * What is true at the moment, each with a reason and a message: Ready (the summary), Fresh (the copy is not older than
   * two intervals), Failed (the last run failed; the reason says why), CopiesRemoved (of a job that is being deleted:
   * its copies are gone).
   */
  conditions?: Condition[];
}

/**
 * Idle: waits for its time. Running: sends. Failed: the last run failed, it is tried again. Suspended: does not run by
 * schedule.
 */
export type ReplicationState = "Idle" | "Running" | "Failed" | "Suspended";

/**
 * The last run.
 */
export interface ReplicationRun {
  /**
   * When it began.
   */
  startedAt?: string;
  /**
   * When it ended; absent while it runs.
   */
  finishedAt?: string;
  /**
   * What came of it. Interrupted: the agent or host went away; it goes on where it can.
   */
  outcome?: "Succeeded" | "Failed" | "Interrupted";
  /**
   * CamelCase reason of a failure: NetworkUnreachable, NoSpace, StorageMissing, Diverged, Locked …
   */
  reason?: string;
  /**
   * What went wrong and what to do.
   */
  message?: string;
  /**
   * Bytes sent.
   */
  bytes?: number;
  /**
   * Whether everything was sent and not a delta.
   */
  full?: boolean;
}

/**
 * The newest snapshot that status.target has completely.
 */
export interface SnapshotReference {
  /**
   * Its name.
   */
  name?: string;
  /**
   * Its identity on the first volume.
   */
  guid?: string;
  /**
   * When it was made.
   */
  time?: string;
}

/**
 * The copy on one node.
 */
export interface ReplicaCopy {
  /**
   * The node that has it.
   */
  node: string;
  /**
   * Name of the newest snapshot it has completely.
   */
  snapshot: string;
  /**
   * Of when the data of that snapshot is.
   */
  time: string;
}

/**
 * One volume.
 */
export interface ReplicatedVolume {
  /**
   * Name of the volume.
   */
  name: string;
  /**
   * Identity of the newest snapshot that the target has completely.
   */
  guid?: string;
  /**
   * Identity of the snapshot that the last run sent from.
   */
  baseGuid?: string;
  /**
   * Bytes of it that the last run sent.
   */
  bytes?: number;
}

/**
 * How far a transfer is. Refreshed every few seconds while it runs.
 */
export interface TransferProgress {
  /**
   * Bytes sent.
   */
  bytes?: number;
  /**
   * Bytes to send as far as known.
   */
  total?: number;
  /**
   * Rate.
   */
  bytesPerSecond?: number;
  /**
   * Seconds it will still take. Not set by this version.
   */
  etaSeconds?: number;
}

/**
 * Moves a guest to another node, once. It is done or failed for good and removed an hour later; make a new one for the
 * next move. For a guest under HA the move is decided by HA and may be refused by rules.
 */
export interface Migration {
  apiVersion: "quorate.dev/v1alpha1";
  kind: "Migration";
  /**
   * Which guest goes where. Cannot change.
   */
  spec: MigrationSpec;
  /**
   * How far it is. Written by the controllers and by the agent of the source.
   */
  status?: MigrationStatus;
  metadata: ObjectMeta;
}

/**
 * Which guest goes where. Cannot change.
 */
export interface MigrationSpec {
  /**
   * Name of the Guest.
   */
  guest: string;
  /**
   * Name of the ClusterNode it goes to.
   */
  target: string;
  /**
   * Live: while it runs. Relocate: stop, move, start. Auto: live where the guest runs and its driver can, else relocate.
   * Default Auto. This version always relocates, whatever is asked for.
   */
  mode: MigrationMode;
  /**
   * Secure: mutual TLS. Insecure: in the clear. Default: Cluster.spec.migration.type. Required with network. Not used by
   * this version, which is always Secure.
   */
  type?: TransferType;
  /**
   * Network for the data as CIDR; both nodes need exactly one address in it. Default: Cluster.spec.migration.network.
   * Not used by this version, which always takes that of the first link.
   */
  network?: string;
  /**
   * Take the guest from a node that is proven off, from its last replica on the target. Default: absent; then a
   * migration needs its source. What was written after that replica is lost. Refused by this version
   * (ForceNotAvailable).
   */
  force?: MigrationForce;
  /**
   * Seconds after its end when this object is removed. Default 3600.
   */
  ttlSecondsAfterFinished: number;
}

/**
 * Live: while it runs. Relocate: stop, move, start. Auto: live where the guest runs and its driver can, else relocate.
 * Default Auto. This version always relocates, whatever is asked for.
 */
export type MigrationMode = "Auto" | "Live" | "Relocate";

/**
 * Take the guest from a node that is proven off, from its last replica on the target. Default: absent; then a
 * migration needs its source. What was written after that replica is lost. Refused by this version
 * (ForceNotAvailable).
 */
export interface MigrationForce {
  /**
   * The oldest replica you accept, in seconds; an older one is refused.
   */
  acceptDataAgeSeconds: number;
}

/**
 * How far it is. Written by the controllers and by the agent of the source.
 */
export interface MigrationStatus {
  /**
   * The metadata.generation of the spec that this status answers.
   */
  observedGeneration?: number;
  /**
   * Pending: waits, see message. Running: moves. Succeeded: the guest is on the target. Failed: it is where it was, see
   * message.
   */
  state?: MigrationState;
  /**
   * How it moves or moved. Always Relocate in this version.
   */
  mode?: "Live" | "Relocate";
  /**
   * The node the guest was on.
   */
  source?: string;
  /**
   * CamelCase reason of waiting or failure.
   */
  reason?: string;
  /**
   * What it waits for or what went wrong and what to do.
   */
  message?: string;
  /**
   * When it began to move.
   */
  startedAt?: string;
  /**
   * When it ended.
   */
  finishedAt?: string;
  /**
   * Milliseconds for which the guest stood still. Not measured by this version.
   */
  downtimeMilliseconds?: number;
  /**
   * How old the replica was that a forced migration started from. Not set by this version.
   */
  ageOfDataSeconds?: number;
  /**
   * How far a transfer is. Not set by this version.
   */
  progress?: TransferProgress;
  /**
   * What is true at the moment, each with a reason and a message: Ready (it succeeded), Failed (it failed; the reason
   * says why).
   */
  conditions?: Condition[];
}

/**
 * Pending: waits, see message. Running: moves. Succeeded: the guest is on the target. Failed: it is where it was, see
 * message.
 */
export type MigrationState = "Pending" | "Running" | "Succeeded" | "Failed";
