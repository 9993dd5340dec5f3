/**
 * Membership as the hosts' corosyncs see it: after a loss every host of a partition knows within T, after a gain within a second. Until
 * then each believes in its last membership; a frozen one believes in it until it wakes, and longer: for the consensus time-out when its
 * token was over meanwhile, else for T.
 */
import type { EventQueue } from "./event-queue.ts";

const JOIN_MILLISECONDS = 1000;

/** Milliseconds. */
export interface CorosyncTimes {
  /** T: until a loss is known. */
  readonly membershipChange: number;
  readonly token: number;
  readonly consensus: number;
}

export interface Membership {
  readonly quorate: boolean;
  readonly members: readonly string[];
  readonly ringId: string;
  readonly qdeviceVotes: number;
}

interface Member {
  running: boolean;
  frozen: boolean;
  frozenAt: number;
  /** Hosts with the same cell reach each other; each alone when it is cut. */
  cell: string;
  membership: Membership;
}

export class Corosync {
  readonly #queue: EventQueue;
  readonly #votes: Readonly<Record<string, number>>;
  readonly #times: CorosyncTimes;
  readonly #qdevice: boolean;
  readonly #hosts = new Map<string, Member>();
  readonly #changed: (host: string) => void;
  #rings = 0;
  /** Expected votes by an operator's override; undefined: by the configuration. */
  override: number | undefined;

  /** @param changed a host has a new membership. */
  constructor(
    queue: EventQueue,
    votes: Readonly<Record<string, number>>,
    times: CorosyncTimes,
    qdevice: boolean,
    changed: (host: string) => void,
  ) {
    this.#queue = queue;
    this.#votes = votes;
    this.#times = times;
    this.#qdevice = qdevice;
    this.#changed = changed;
    for (const name of Object.keys(votes))
      this.#hosts.set(name, { running: false, frozen: false, frozenAt: 0, cell: "all", membership: NONE });
  }

  membership(host: string): Membership {
    return this.#hosts.get(host)?.membership ?? NONE;
  }

  /** They reach each other over the network, whatever they believe of it. */
  connected(one: string, other: string): boolean {
    const [a, b] = [this.#hosts.get(one), this.#hosts.get(other)];
    return a?.running === true && b?.running === true && !b.frozen && a.cell === b.cell && a.cell !== "cut";
  }

  /** The host's corosync runs, is reachable in `cell`, or is frozen, from now on. */
  set(host: string, change: { running?: boolean; frozen?: boolean; cell?: string }): void {
    const member = this.#hosts.get(host);
    if (!member) return;
    const started = change.running === true && !member.running;
    if (change.frozen === true && !member.frozen) member.frozenAt = this.#queue.now;
    const overslept =
      member.frozen && change.frozen === false && this.#queue.now - member.frozenAt > this.#times.token && !started;
    Object.assign(member, change);
    if (change.running === false) member.membership = NONE;
    if (started) member.membership = NONE;
    if (overslept) this.#queue.after(this.#times.consensus, () => this.#form(host));
    this.#settle();
  }

  setOverride(expected: number | undefined): void {
    this.override = expected;
    for (const name of this.#hosts.keys()) this.#form(name);
  }

  /** Every host whose membership is not what it reaches learns it after its delay. */
  #settle(): void {
    for (const [name, member] of this.#hosts) {
      if (!member.running || member.frozen) continue;
      const reached = this.#reached(name);
      const lost = member.membership.members.some((other) => !reached.includes(other));
      if (!lost && reached.length === member.membership.members.length) continue;
      this.#queue.after(lost ? this.#times.membershipChange : JOIN_MILLISECONDS, () => this.#form(name));
    }
  }

  #form(name: string): void {
    const member = this.#hosts.get(name);
    if (!member?.running || member.frozen) return;
    const members = this.#reached(name);
    const qdeviceVotes = this.#qdevice && this.#qdeviceFavours(members) ? 1 : 0;
    const votes = members.reduce((sum, other) => sum + (this.#votes[other] ?? 0), 0) + qdeviceVotes;
    const expected =
      this.override ?? Object.values(this.#votes).reduce((sum, value) => sum + value, 0) + (this.#qdevice ? 1 : 0);
    const quorate = votes * 2 > expected;
    const key = members.join();
    const ringId = member.membership.ringId;
    const isFormed = members.every((other) => {
      const known = this.#hosts.get(other)?.membership;
      return known?.ringId === ringId && known.quorate === quorate && known.members.join() === key;
    });
    if (isFormed) return;
    // A ring is formed by all of its members together.
    this.#rings += 1;
    const formed = { quorate, members, ringId: `${members[0]}.${this.#rings.toString(16)}`, qdeviceVotes };
    for (const other of members) {
      const joined = this.#hosts.get(other);
      if (joined) joined.membership = formed;
    }
    for (const other of members) this.#changed(other);
    if (qdeviceVotes > 0) this.#withdrawVote(members);
  }

  /** The device votes for one partition: it takes its vote back where it hears of it. */
  #withdrawVote(favoured: readonly string[]): void {
    for (const [name, { membership }] of this.#hosts)
      if (membership.qdeviceVotes > 0 && !favoured.includes(name)) this.#form(name);
  }

  #reached(name: string): string[] {
    const cell = this.#hosts.get(name)?.cell;
    return [...this.#hosts]
      .filter(
        ([other, member]) =>
          member.running && !member.frozen && (other === name || (member.cell === cell && cell !== "cut")),
      )
      .map(([other]) => other)
      .sort();
  }

  /** Fifty-fifty: the larger partition, or the one with the first name, if it reaches the device (which a cut host does not). */
  #qdeviceFavours(members: readonly string[]): boolean {
    const partitions = new Map<string, string[]>();
    for (const [name, member] of this.#hosts) {
      if (!member.running || member.frozen || member.cell === "cut") continue;
      partitions.set(member.cell, [...(partitions.get(member.cell) ?? []), name].sort());
    }
    const best = [...partitions.values()].sort(
      (a, b) => b.length - a.length || ((a[0] ?? "") < (b[0] ?? "") ? -1 : 1),
    )[0];
    return best?.join() === members.join();
  }
}

const NONE: Membership = { quorate: false, members: [], ringId: "", qdeviceVotes: 0 };
