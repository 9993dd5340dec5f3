/**
 * When an answer of corosync proves that this host may live. Pure.
 *
 * All times are CLOCK_BOOTTIME milliseconds. A proof is as old as its question: what was true when the answer was made
 * is not known to be true later.
 *
 * One trap: a corosync that was frozen for longer than its token time-out is out of the ring, but says "quorate" from
 * memory for another consensus time-out after it wakes up (measured: 4.4 s with a token of 3.65 s). So after a silence
 * that long its word counts only when the ring id has changed, which shows that it took part in a new membership, or
 * when it has gone on answering for the settle time. That counts from the answer that ended the silence: the question may
 * have waited for a corosync that slept.
 *
 * An answer that comes too late to pet with still shows that corosync was not silent.
 */
export interface Answer {
  askedAtMs: number;
  answeredAtMs: number;
  quorate: boolean;
  ringId: string;
}

/** What is remembered of the answer before. */
export interface History {
  askedAtMs: number;
  /** Undefined: nothing is known, so no ring counts as a new one. */
  ringId: string | undefined;
  /** When the answer came that ended a silence, while corosync is not yet believed again. */
  doubtedSinceMs?: number;
}

export interface DoubtLimits {
  tokenMilliseconds: number;
  settleMilliseconds: number;
}

export interface Verdict {
  history: History;
  /** The answer says quorate and is believed. */
  proves: boolean;
}

export function judge(before: History | undefined, answer: Answer, limits: DoubtLimits): Verdict {
  const { askedAtMs, ringId } = answer;
  const silenceMs = before === undefined ? 0 : answer.answeredAtMs - before.askedAtMs;
  const doubtedSinceMs = silenceMs > limits.tokenMilliseconds ? answer.answeredAtMs : before?.doubtedSinceMs;
  const isNewRing = before?.ringId !== undefined && before.ringId !== ringId;
  if (doubtedSinceMs === undefined || isNewRing || askedAtMs - doubtedSinceMs >= limits.settleMilliseconds) {
    return { history: { askedAtMs, ringId }, proves: answer.quorate };
  }
  return { history: { askedAtMs, ringId, doubtedSinceMs }, proves: false };
}

/**
 * Reads `corosync-quorumtool -s -i`. Anything but a whole answer of the expected form is none: undefined.
 * @param exitCode 0 quorate, 2 not quorate
 */
export function parseAnswer(output: string, exitCode: number): { quorate: boolean; ringId: string } | undefined {
  const only = (pattern: RegExp): string | undefined => {
    const found = [...output.matchAll(pattern)];
    return found.length === 1 ? found[0]?.[1] : undefined;
  };
  const ringId = only(/^Ring ID:[ \t]+(\S+)[ \t]*$/gm);
  const says = only(/^Quorate:[ \t]+(Yes|No)[ \t]*$/gm);
  const quorum = only(/^Quorum:[ \t]+\d+[ \t]*(.*?)[ \t]*$/gm);
  const flags = only(/^Flags:[ \t]*(.*)$/gm)?.split(/\s+/);
  const isWhole =
    /^Quorum provider:[ \t]+corosync_votequorum[ \t]*$/m.test(output) &&
    /^Membership information$/m.test(output) &&
    output.endsWith("\n");
  if (!isWhole || ringId === undefined || says === undefined || quorum === undefined || flags === undefined)
    return undefined;
  if (says === "No") return exitCode === 2 ? { quorate: false, ringId } : undefined;
  return exitCode === 0 && quorum === "" && flags.includes("Quorate") ? { quorate: true, ringId } : undefined;
}
