import pc from "picocolors";

/** The meanings that text can have here. Without colour each leaves its text as it is. */
export interface Palette {
  good(text: string): string;
  warn(text: string): string;
  bad(text: string): string;
  dim(text: string): string;
  strong(text: string): string;
}

export function palette(colour: boolean): Palette {
  const { green, yellow, red, dim, bold } = pc.createColors(colour);
  return { good: green, warn: yellow, bad: red, dim, strong: bold };
}

/** Colour only where somebody looks: on a terminal that has it, unless NO_COLOR (https://no-color.org) says no. */
export function wantsColour(stream: { isTTY?: boolean }, environment: NodeJS.ProcessEnv): boolean {
  return stream.isTTY === true && (environment.NO_COLOR ?? "") === "" && environment.TERM !== "dumb";
}

const GOOD = new Set(["True", "Online", "Running", "Started", "Active", "Armed", "Idle", "Succeeded"]);
const BAD = new Set(["False", "Fence", "Unknown", "Gone", "Failed", "Error", "Lost", "Recovery"]);

/** How a state of any kind is painted: well, needing a look, or wrong. */
export function paintOfState(state: string, colours: Palette): (text: string) => string {
  if (GOOD.has(state)) return colours.good;
  return BAD.has(state) ? colours.bad : colours.warn;
}
