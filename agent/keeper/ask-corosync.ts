import { execFile } from "node:child_process";
import { type Answer, parseAnswer } from "./proof.ts";

/** Asks the host's own corosync, once. No answer (stopped, frozen, not understood) is said in words. */
export type AskCorosync = () => Promise<Answer | { silent: string }>;

/** @param nowMs CLOCK_BOOTTIME */
export function askCorosync(timeoutMs: number, nowMs: () => number): AskCorosync {
  return () =>
    new Promise((resolve) => {
      const askedAtMs = nowMs();
      const options = {
        timeout: timeoutMs,
        killSignal: "SIGKILL",
        maxBuffer: 1024 * 1024,
        cwd: "/",
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
      } as const;
      execFile("corosync-quorumtool", ["-s", "-i"], options, (error, stdout, stderr) => {
        const answeredAtMs = nowMs();
        if (error?.killed === true) return resolve({ silent: `corosync did not answer within ${timeoutMs} ms` });
        const answer = parseAnswer(stdout, error === null ? 0 : Number(error.code));
        if (answer !== undefined) return resolve({ askedAtMs, answeredAtMs, ...answer });
        const said = (stderr.trim() || (error?.message ?? "an answer of an unexpected form")).split("\n").at(-1);
        resolve({ silent: `corosync gave no answer: ${said}` });
      });
    });
}
