import { ANY_NODE, type CopyMark } from "./types.ts";
import { NEWEST_ON_PROPERTY, type Properties } from "./zfs-cli.ts";

/** The nodes whose newest copy the snapshot with these properties is. */
export function markedNodes(properties: Properties): string[] {
  const mark = properties.get(NEWEST_ON_PROPERTY);
  return mark?.local === true ? mark.value.split(",").filter((node) => node !== "") : [];
}

/**
 * The commands that make the marks true on a dataset whose properties (and those of its snapshots) are `known`. The new mark
 * of a node comes before the end of its old one: at no time is what it goes on from without a mark.
 */
export function markCommands(
  dataset: string,
  known: ReadonlyMap<string, Properties>,
  marks: readonly CopyMark[],
): string[][] {
  const snapshots = [...known].filter(([name]) => name.startsWith(`${dataset}@`));
  const guidOf = (properties: Properties) => properties.get("guid")?.value;
  const guids = new Set(snapshots.map(([, properties]) => guidOf(properties)));
  const isMore = ({ node, also }: CopyMark) => also === true || node === ANY_NODE;
  const moved = new Map(
    marks
      .filter((mark) => !isMore(mark) && (mark.guid === undefined || guids.has(mark.guid)))
      .map(({ node, guid }) => [node, guid] as const),
  );
  const belongs = (node: string, of: string | undefined) =>
    moved.get(node) === of || marks.some((mark) => isMore(mark) && mark.node === node && mark.guid === of);
  const added: string[][] = [];
  const removed: string[][] = [];
  for (const [name, properties] of snapshots) {
    const before = markedNodes(properties);
    const guid = guidOf(properties);
    const stay = before.filter((node) => !moved.has(node) || belongs(node, guid));
    const come = [...new Set(marks.map(({ node }) => node))].filter(
      (node) => !before.includes(node) && belongs(node, guid),
    );
    if (stay.length === before.length && come.length === 0) continue;
    const after = [...stay, ...come].toSorted();
    const command =
      after.length === 0
        ? ["inherit", NEWEST_ON_PROPERTY, name]
        : ["set", `${NEWEST_ON_PROPERTY}=${after.join(",")}`, name];
    (come.length > 0 ? added : removed).push(command);
  }
  return [...added, ...removed];
}
