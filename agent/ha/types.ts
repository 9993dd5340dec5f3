/**
 * What `lrmStep` is given and gives back. The LRM is the HA part of a node's agent: it holds the node's lease while HA guests may
 * run here, and makes true what the CRM commands. Plain data; milliseconds of one monotonic clock of the caller.
 */

export type Milliseconds = number;

/** Idle: no lease, nothing runs under HA. Active: holds the lease. Lost: was active, cannot renew. Maintenance: active, guests leave. */
export type LrmMode = "Idle" | "Active" | "Lost" | "Maintenance";

export type LrmServiceState =
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

export type Outcome = "Ok" | "Failed" | "WrongNode" | "TryAgain" | "Locked";

/** One service of this node, or on its way to it, as the CRM wrote it (HAResource.status) and as it is here. */
export interface LrmServiceView {
  readonly state: LrmServiceState;
  readonly node: string;
  readonly target?: string;
  readonly command: { readonly uid: string; readonly target?: string; readonly stopTimeoutSeconds?: number };
  readonly maxRestart: number;
  /** Where the guest's binding says it belongs (Guest.spec.nodeName). */
  readonly owner: string;
  /** Runs on this node, as the driver says now. "unknown" counts as running wherever that is the safe side. */
  readonly running: boolean | "unknown";
  /** The driver can move it live while it runs. */
  readonly canMoveLive: boolean;
  /** A lock on the guest (`backup`, `create` …) blocks start, stop and move. */
  readonly lock?: string;
}

/** Work of one service that the shell runs or has just ended. */
export interface LrmWork {
  readonly uid: string;
  readonly action: "start" | "stop" | "move";
  /** Of a move. */
  readonly mode?: "live" | "restart";
  /** Absent: still running. */
  readonly outcome?: Outcome;
  readonly message?: string;
}

export type ReportedMode = LrmMode | "Restart" | "Shutdown" | "Disarmed";

export type ShutdownKind = "agent-restart" | "reboot" | "power-off";
export type ShutdownPolicy = "conditional" | "freeze" | "failover" | "migrate";

export interface LrmView {
  readonly node: string;
  /** Corosync of this host is quorate, freshly proven. */
  readonly quorate: boolean;
  /** The objects could be read (services are fresh). False: `services` is the last known and nothing new is begun. */
  readonly storeReadable: boolean;
  readonly lease: {
    /** As last read: held by this boot of this host, by the CRM (taken), by another holder, or by nobody (or by an earlier boot of this host). */
    readonly holder: "self" | "crm" | "other" | "none";
    /** leaseTransitions as last read. */
    readonly epoch: number;
  };
  /** The keeper's word. `armed` is true only while the device is open with the wanted time-out. */
  readonly watchdog: { readonly armed: boolean; readonly expiring: boolean };
  /** Services whose `node` or `target` is this node. */
  readonly services: Readonly<Record<string, LrmServiceView>>;
  /** HA guests that run on this host although their service is neither here nor on its way here. */
  readonly strays: readonly string[];
  /** By service. Ended work stays until the step said `forgetWork`. */
  readonly work: Readonly<Record<string, LrmWork>>;
  /** The CRM has agreed to disarm: let go of lease and watchdog. */
  readonly disarmed: boolean;
  /** The operator's maintenance flag of this node. */
  readonly maintenance: boolean;
  /** This agent, or its host, is asked to stop. */
  readonly shutdown?: { readonly kind: ShutdownKind; readonly policy: ShutdownPolicy };
  /** What the store says this agent reported last. */
  readonly reportedMode?: ReportedMode;
  /** Step again in the same round after effects were applied: no counter moves and no service is tried twice. */
  readonly sameRound: boolean;
}

export type ShutdownPlan = "freeze" | "stop" | "drain" | "already-drained";

export interface LrmState {
  readonly mode: LrmMode;
  /** Epoch under which this agent holds the lease; absent when it does not. */
  readonly epoch?: number;
  /** How the current command of a service ended: service -> uid and outcome. */
  readonly done: Readonly<Record<string, { readonly uid: string; readonly outcome: Outcome }>>;
  /** Failed starts on this node since the last success. */
  readonly startRetries: Readonly<Record<string, number>>;
  readonly idleRounds: number;
  readonly lastRoundAt: Milliseconds;
  /** Services that were tried in this round. */
  readonly begun: readonly string[];
  readonly shutdownPlan?: ShutdownPlan;
  /** Since the plan was made; then when the CRM could last do its part in it. */
  readonly shutdownSince?: Milliseconds;
  readonly shutdownHeardAt?: Milliseconds;
  /** The plan waited for the CRM in vain: the guests are stopped as they are. */
  readonly shutdownGivenUp?: true;
  /** All guests were told to stop, and the work has ended; what is seen of them may be older. */
  readonly shutdownStoppedAt?: Milliseconds;
  /** Services that the shutdown plan has stopped, or tried to. */
  readonly shutdownStops: readonly string[];
  readonly exited: boolean;
}

export type LrmEffect =
  /** Compare-and-swap the Lease to this holder, epoch + 1, only if nobody (or this node's earlier boot) holds it. Seen in a later view. */
  | { readonly type: "acquireLease" }
  | { readonly type: "renewLease" }
  | { readonly type: "releaseLease"; readonly cause: "disarm" | "idle" | "shutdown" }
  | { readonly type: "armWatchdog" }
  /** Magic close. Only with no HA guest running here, or all frozen for an ordered restart, or disarmed. */
  | { readonly type: "disarmWatchdog"; readonly cause: "disarm" | "idle" | "shutdown" }
  /** The lease was lost to another: the host must reset. */
  | { readonly type: "expireWatchdog"; readonly why: string }
  | { readonly type: "start"; readonly service: string; readonly uid: string }
  | {
      readonly type: "stop";
      readonly service: string;
      readonly uid: string;
      readonly timeoutSeconds?: number;
      readonly why: "command" | "shutdown";
    }
  | {
      readonly type: "move";
      readonly service: string;
      readonly uid: string;
      readonly target: string;
      readonly mode: "live" | "restart";
    }
  /** Write HAResource.status.result. */
  | {
      readonly type: "report";
      readonly service: string;
      readonly uid: string;
      readonly outcome: Outcome;
      readonly message?: string;
    }
  /** The result of this ended work is in the state now. */
  | { readonly type: "forgetWork"; readonly service: string }
  /** Write ClusterNode.status.lrm and the Lease's mode annotation. */
  | { readonly type: "setMode"; readonly mode: ReportedMode }
  /** The agent has done what its stop needed: the shell ends the process (and lets the host go down). */
  | { readonly type: "exit" };

export interface LrmEvent {
  readonly class: "decision" | "action" | "role" | "notice";
  readonly kind: string;
  readonly subject?: string;
  readonly about: "service" | "node";
  readonly level: "info" | "notice" | "warning" | "err";
  readonly reason: string;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface LrmParameters {
  readonly behaviour: "default" | "reference";
  readonly maxWorkers: number;
  /** Running moves at once. */
  readonly maxMoves: number;
  /** A step counts as a round of idleness when the last one is this long ago; 0: every step. */
  readonly roundLength: Milliseconds;
  /** Rounds without work before the watchdog is closed. */
  readonly idleRounds: number;
}

export interface LrmStepResult {
  readonly state: LrmState;
  readonly effects: readonly LrmEffect[];
  readonly events: readonly LrmEvent[];
}
