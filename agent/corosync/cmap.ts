/** The keys and values that corosync-cmapctl prints. */
export type Cmap = ReadonlyMap<string, string>;

/** Reads lines as `totem.config_version (u64) = 3`. Other lines (binary values, messages) are left out. */
export function parseCmap(output: string): Cmap {
  const map = new Map<string, string>();
  for (const line of output.split("\n")) {
    const [, key, value] = /^(\S+) \((?:str|dbl|flt|[iu]\d+)\) = (.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) map.set(key, value);
  }
  return map;
}

/** The number under a key; undefined when it is absent or no number. */
export function cmapNumber(map: Cmap, key: string): number | undefined {
  const value = map.get(key);
  if (value === undefined || value.trim() === "") return undefined;
  const number = Number(value);
  return Number.isFinite(number) ? number : undefined;
}

/** The node ids of the loaded nodelist. */
export function cmapNodeIds(map: Cmap): number[] {
  const ids = [...map.keys()]
    .filter((key) => /^nodelist\.node\.\d+\.nodeid$/.test(key))
    .map((key) => cmapNumber(map, key));
  return ids.filter((id) => id !== undefined).sort((a, b) => a - b);
}
