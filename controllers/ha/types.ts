/**
 * The vocabulary of HA decisions: what `crmStep` is given and what it gives back. Everything here is plain data (records,
 * arrays, strings, numbers), so that a shell can rebuild it from objects and a test can write it down.
 *
 * Ids: a service is named by its HAResource's name, a node by its ClusterNode's name. All times are milliseconds of one
 * monotonic clock of the caller; nothing here ever reads a wall clock.
 */

/** Milliseconds on the caller's monotonic clock, or a duration of it. */
export type Milliseconds = number;

export type RequestedState = "Started" | "Stopped" | "Disabled" | "Ignored";

export type ServiceState =
  | "RequestStart"
  | "RequestStartBalance"
  | "Started"
  | "RequestStop"
  | "Stopped"
  | "Fence"
  | "Recovery"
  | "Freeze"
  | "Migrate"
  | "Relocate"
  | "Error"
  | "Ignored";

export type NodeState = "Online" | "Maintenance" | "Unknown" | "Fence" | "Gone";

/** How a guest changes node: `live` keeps it running where its driver can, `restart` stops it, moves it, starts it. */
export type MoveMode = "live" | "restart";

export type CommandAction = "Start" | "Stop" | "Migrate" | "Relocate" | "None";

/** What the owner's agent shall make true. Executed once for a `uid`; `Start` and the stop of a `Stopped` service are kept true. */
export interface ServiceCommand {
  readonly uid: string;
  readonly action: CommandAction;
  readonly target?: string;
  /** 0: hard. Absent: the driver's own limit. */
  readonly stopTimeoutSeconds?: number;
}

export type Outcome = "Ok" | "Failed" | "WrongNode" | "TryAgain" | "Locked";

/** What the agent of the service's node wrote of the command with this uid. */
export interface ServiceResult {
  readonly uid: string;
  readonly outcome: Outcome;
  readonly message?: string;
}

/** An operator's request for one service (a Migration object, a stop request). Given once; it dies with any change of the service's state. */
export type ServiceRequest =
  | { readonly op: "move"; readonly service: string; readonly target: string; readonly mode: MoveMode }
  | { readonly op: "stop"; readonly service: string; readonly timeout: number };

/** The CRM's record of a service. Survives a restart in HAResource.status, except what is volatile. */
export interface ServiceRecord {
  readonly state: ServiceState;
  /** Where the guest belongs (and runs, when it does). */
  readonly node: string;
  /** Migrate and Relocate: where it is going. Fence and Recovery: where it was going live, so that it may run there already. */
  readonly target?: string;
  /** When `state` was entered. */
  readonly since: Milliseconds;
  readonly command: ServiceCommand;
  /** Nodes on which the start failed, in order; empty after a success. */
  readonly triedNodes: readonly string[];
  /** Relocations after failed starts since the last success. */
  readonly relocations: number;
  /** The node it left because of maintenance, to which it returns. */
  readonly home?: string;
  /**
   * A proof by time-outs holds for this service on its node: its guest does not run there without an armed watchdog. False for a guest
   * that ran before its agent answered for it: just adopted, arrived live, left in Error, or frozen while watchdogs were closed. An
   * answer to the current command counts as well.
   */
  readonly guarded?: boolean;
  /** Volatile: of the HAResource that this is the record of, and of the Guest that it was last seen with. */
  readonly uid?: string;
  readonly guestUid?: string;
  /** Volatile: an accepted request that has not been acted on. */
  readonly queued?: ServiceRequest;
  /** Volatile: the result already taken into account, as `uid/outcome`. */
  readonly processed?: string;
  /** Volatile: failed moves in a row, and not before when the next one is tried. */
  readonly moveBackoff?: { readonly failures: number; readonly notBefore: Milliseconds };
  /** Volatile: balancing it ended in failed starts so often in a row; it is left where it is until then. */
  readonly balanceBackoff?: { readonly failures: number; readonly notBefore: Milliseconds };
  /** Filled when the service is recovered, for HAResource.status.lastFailover. */
  readonly failover?: { readonly from: string; readonly fencedAt: Milliseconds };
}

/** The CRM's record of a node. `state` survives in ClusterNode.status.state; the clocks start again with the CRM. */
export interface NodeRecord {
  readonly state: NodeState;
  /** Volatile: when this CRM last saw the node online; its takeover for a node never seen. */
  readonly lastOnline: Milliseconds;
  /** The node's lease is held by the CRM: the fence was acknowledged and its services are not all recovered. */
  readonly fencedAt?: Milliseconds;
}

export type DisarmMode = "Freeze" | "Ignore";

export interface DisarmRecord {
  readonly mode: DisarmMode;
  /** `Disarming`: deferred, or agents still active. `Disarmed`: nothing is guarded. */
  readonly phase: "Disarming" | "Disarmed";
  /** Services were frozen or suspended: agents may let go. Until then they hold on (a fence or a move is still running). */
  readonly agreed: boolean;
}

/** Where a guest may still run whose HAResource was deleted. */
export interface LeftBehind {
  readonly node: string;
  readonly guestUid?: string;
}

export interface CrmState {
  readonly services: Readonly<Record<string, ServiceRecord>>;
  readonly nodes: Readonly<Record<string, NodeRecord>>;
  /** Volatile: services that were dropped with their HAResource and not stopped, until they are under HA again. */
  readonly left?: Readonly<Record<string, LeftBehind>>;
  readonly disarm?: DisarmRecord;
  /** Volatile: makes command uids unique together with the view's incarnation. */
  readonly commandCount: number;
  /** Volatile: rounds in a row in which the imbalance was above the threshold. */
  readonly imbalancedRounds: number;
  /** Volatile: rounds in a row without anything to guard. */
  readonly idleRounds: number;
  /** Volatile: when the last step was that counted as a round. */
  readonly lastRoundAt: Milliseconds;
  /** Volatile: when a node left the cluster. */
  readonly goneSince: Readonly<Record<string, Milliseconds>>;
}

/** What the agent of a node last wrote of itself. */
export type AgentMode = "Idle" | "Active" | "Lost" | "Maintenance" | "Restart" | "Shutdown" | "Disarmed";

/** Result of `fenceGate`, or of the simulator's reference lease rules. */
export interface FenceVerdict {
  /** All conditions hold: the CRM may take the node's lease. */
  readonly proven: boolean;
  /** Why not yet, one sentence each; when proven, what proved it. */
  readonly reasons: readonly string[];
  /** A fence device said that the node is off: no watchdog needs to be trusted. */
  readonly confirmedOff?: boolean;
}

export interface NodeView {
  /** In the membership that the quorate agents report. Without any quorate report: false. */
  readonly member: boolean;
  /** The agent renews its lease (or has released it in order). False while member: it is lost alone, and nothing moves. */
  readonly agentAlive: boolean;
  readonly agentMode: AgentMode;
  /** The operator's maintenance flag (ClusterNode.spec.maintenance). In effect once the agent's mode is Maintenance. */
  readonly maintenance: boolean;
  /** Who holds the node's lease: its agent, the CRM (taken as the fence), or nobody. */
  readonly lease: "agent" | "crm" | "none";
  readonly fence: FenceVerdict;
  /** A fence device is configured: from `fenceDelay` on, the CRM asks the shell to use it. */
  readonly hardwareFencing: boolean;
  readonly capacity: { readonly cpu: number; readonly memory: number };
  /** Measured load of the node, for the dynamic scheduler. */
  readonly measured?: { readonly cpu: number; readonly memory: number };
}

export interface ServiceView {
  readonly requested: RequestedState;
  /** Where the guest's binding says it is (Guest.spec.nodeName). */
  readonly owner: string;
  /** Of the objects that say all this: with another uid it is a new object of the same name. Absent: not known. */
  readonly uid?: string;
  readonly guestUid?: string;
  /** Where the CRM had it last, by the object: for one that is taken under HA again. */
  readonly lastNode?: string;
  readonly maxRestart: number;
  readonly maxRelocate: number;
  readonly failback: boolean;
  readonly group?: string;
  /** Ask of the agent of `record.node` only; absent: nothing written yet. */
  readonly result?: ServiceResult;
  /** Runs on its node, as the agent there last reported. */
  readonly running: boolean;
  /** Its driver can move it live (a virtual machine); otherwise a move chosen by the CRM is a restart move. */
  readonly canMoveLive: boolean;
  /** Time-out of an ordinary stop. */
  readonly stopTimeoutSeconds?: number;
  /** `backup`, `create` …: recovery removes the ones that a dead node can no longer give back. */
  readonly lock?: string;
  /** Defined size, for the static scheduler. cpu 0: all of the node's. */
  readonly defined: { readonly cpu: number; readonly memory: number };
  readonly measured?: { readonly cpu: number; readonly memory: number };
}

export interface Group {
  readonly nodes: Readonly<Record<string, number>>;
  readonly restricted: boolean;
  readonly failback: boolean;
}

export type Rule =
  | {
      readonly id: string;
      readonly kind: "prefer-nodes";
      readonly services: readonly string[];
      readonly nodes: Readonly<Record<string, number>>;
      readonly strict: boolean;
      readonly disabled?: boolean;
    }
  | {
      readonly id: string;
      readonly kind: "keep-together" | "keep-apart";
      readonly services: readonly string[];
      readonly disabled?: boolean;
    };

export interface AutoRebalance {
  readonly method: "bruteforce" | "topsis";
  readonly threshold: number;
  readonly holdRounds: number;
  readonly margin: number;
}

export interface HaPolicy {
  readonly scheduler: "basic" | "static" | "dynamic";
  readonly rebalanceOnStart: boolean;
  readonly autoRebalance?: AutoRebalance;
  readonly disarm?: DisarmMode;
}

export interface CrmView {
  /** Unique to this run of this leader (a process start, a lease epoch): command uids are `<incarnation>.<count>`. */
  readonly incarnation: string;
  /** At least one fresh agent reports a quorate membership. Without it the step changes nothing. */
  readonly quorate: boolean;
  /** Step again in the same round, after effects were applied: no counter moves, no request is taken, nothing is balanced. */
  readonly sameRound: boolean;
  readonly nodes: Readonly<Record<string, NodeView>>;
  readonly services: Readonly<Record<string, ServiceView>>;
  /** Services that are under HA still, and whose guest is not there or bound to no node: what is known of them stays known. */
  readonly withoutGuest?: ReadonlySet<string>;
  readonly groups: Readonly<Record<string, Group>>;
  readonly rules: readonly Rule[];
  readonly policy: HaPolicy;
  /** New requests since the last step, in order. */
  readonly requests: readonly ServiceRequest[];
}

/** Effects of a step, in the order in which they must be applied. */
export type CrmEffect =
  /** Write HAResource.status. Must be durable before any later effect of the same service is applied. */
  | { readonly type: "setService"; readonly service: string; readonly record: ServiceRecord }
  | { readonly type: "dropService"; readonly service: string; readonly reason: "deleted" | "ignored" }
  | { readonly type: "setNode"; readonly node: string; readonly record: NodeRecord }
  | { readonly type: "forgetNode"; readonly node: string }
  /** Compare-and-swap the node's Lease: holder the CRM, epoch + 1. Seen in a later view as `lease: "crm"`; step again at once. */
  | { readonly type: "takeLease"; readonly node: string; readonly why: readonly string[] }
  /** All services of the fenced node are recovered or left: the returning agent may have the Lease. Only while the CRM holds it. */
  | { readonly type: "releaseLease"; readonly node: string }
  /** Use the fence devices of the node; their confirmation comes back through the gate. */
  | { readonly type: "fenceHardware"; readonly node: string }
  /** Bind the guest to the node (Guest.spec.nodeName). Only after the fence, or after a move that its source reported done. */
  | { readonly type: "setNodeOwner"; readonly service: string; readonly node: string; readonly from: string }
  | { readonly type: "removeLock"; readonly service: string; readonly lock: string }
  | { readonly type: "setDisarm"; readonly disarm: DisarmRecord | undefined };

export type EventClass = "decision" | "action" | "role" | "notice";
export type EventLevel = "info" | "notice" | "warning" | "err";

/** Something that a person wants to know. `reason` and `message` are for Kubernetes events, the rest for machines. */
export interface HaEvent {
  readonly class: EventClass;
  /** Stable, dotted: `service.state`, `fence.acknowledged` … */
  readonly kind: string;
  /** The service or node it is about; absent: the cluster. */
  readonly subject?: string;
  readonly about: "service" | "node" | "cluster";
  readonly level: EventLevel;
  readonly reason: string;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Which of two behaviours where both are defensible. `reference` is how the field's reference system behaves, for comparison only. */
export type Behaviour = "default" | "reference";

export interface CrmParameters {
  readonly behaviour: Behaviour;
  /** A node must be away this long before its services enter Fence. 0: as soon as the gate is proven, never before. */
  readonly fenceDelay: Milliseconds;
  /** A step counts as a round for what is held or counted in rounds when the last one is this long ago; 0: every step. */
  readonly roundLength: Milliseconds;
  /** Rounds without work before `idle` is reported. */
  readonly idleRounds: number;
  /** A start waits this long for the agents of all members, so that the best place is chosen of all. Default behaviour only. */
  readonly startGrace: Milliseconds;
  /** An absent node without services is forgotten after this. */
  readonly forgetNodeAfter: Milliseconds;
  /** First pause after a failed move; doubles up to 32 times this. Default behaviour only. */
  readonly moveRetryDelay: Milliseconds;
}

export interface CrmStepResult {
  readonly state: CrmState;
  readonly effects: readonly CrmEffect[];
  readonly events: readonly HaEvent[];
  /** Each rule that is not in force, with why (HARule.status), sorted by rule. */
  readonly droppedRules: readonly DroppedRule[];
  /** Nothing to guard for `idleRounds`: a leader that holds a watchdog may let go. */
  readonly idle: boolean;
}

export interface DroppedRule {
  readonly rule: string;
  readonly reason: string;
  readonly message: string;
}
