import { type Logger, pino } from "pino";

export type { Logger } from "pino";

/**
 * The log of a process: JSON lines on standard error, so that standard output stays free for results.
 * Level from QUORATE_LOG_LEVEL (trace … fatal, default info). Never pass secrets, whole objects or environment.
 */
export function processLog(component: string): Logger {
  return pino(
    {
      level: process.env.QUORATE_LOG_LEVEL ?? "info",
      base: { component },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
