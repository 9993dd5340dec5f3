/** What a scrape of a process's metrics says, for differences between two scrapes. */

export type Scrape = ReadonlyMap<string, number>;

/** By `name{labels}` as written. */
export function parseScrape(text: string): Scrape {
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) continue;
    const at = line.lastIndexOf(" ");
    if (at > 0) samples.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return samples;
}

/** How much a counter grew, by the value of one of its labels, over all its other labels. */
export function growthBy(before: Scrape, after: Scrape, name: string, label: string): Map<string, number> {
  const grown = new Map<string, number>();
  const pattern = new RegExp(`[{,]${label}="([^"]*)"`);
  for (const [sample, value] of after) {
    if (!sample.startsWith(`${name}{`)) continue;
    const of = pattern.exec(sample)?.[1] ?? "";
    grown.set(of, (grown.get(of) ?? 0) + value - (before.get(sample) ?? 0));
  }
  return grown;
}

/** How much a counter without labels, or all of one with labels, grew. */
export function growth(before: Scrape, after: Scrape, name: string): number {
  let grown = (after.get(name) ?? 0) - (before.get(name) ?? 0);
  for (const value of growthBy(before, after, name, "").values()) grown += value;
  return grown;
}

/** Of what a histogram took in between: the upper limit of the bucket that holds the share. */
export function quantileBetween(before: Scrape, after: Scrape, histogram: string, share: number): number {
  const buckets = [...growthBy(before, after, `${histogram}_bucket`, "le")]
    .map(([le, count]) => ({ le: le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le), count }))
    .sort((a, b) => a.le - b.le);
  const total = buckets.at(-1)?.count ?? 0;
  return total === 0 ? Number.NaN : (buckets.find(({ count }) => count >= share * total)?.le ?? Number.NaN);
}
