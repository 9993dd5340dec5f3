/** Where a command prints what it follows. */
export interface Printer {
  line(text: string): void;
  /** On a terminal it replaces the progress before it; elsewhere only some are printed, so that logs stay short. */
  progress(text: string): void;
}

export interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
}

/** Elsewhere than on a terminal every so many steps of progress are printed. */
const QUIET_STEPS = 10;

export function printerOn(output: Output): Printer {
  let overwritable = false;
  let skipped = 0;
  const put = (text: string) => {
    output.write(`${overwritable ? "\r\x1b[K" : ""}${text}`);
  };
  return {
    line(text) {
      put(`${text}\n`);
      overwritable = false;
    },
    progress(text) {
      if (output.isTTY === true) {
        put(text);
        overwritable = true;
        return;
      }
      if (skipped === 0) put(`${text}\n`);
      skipped = (skipped + 1) % QUIET_STEPS;
    },
  };
}
