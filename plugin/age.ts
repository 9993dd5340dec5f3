/** Durations and amounts for people. Pure. */

/** How long ago an RFC 3339 time was, such as `41s`, `3m20s`, `5h`, `2d`; undefined for a missing or unreadable time. */
export function ageOf(time: string | undefined, nowMs: number): string | undefined {
  const atMs = Date.parse(time ?? "");
  return Number.isNaN(atMs) ? undefined : duration(nowMs - atMs);
}

/** A duration in its two largest units; the second one only where it says something. Clocks that differ give no negative age. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return minutes * 60 === seconds ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}

/** When it will be, such as `in 4m`, or `due` when the time is over. */
export function until(time: string | undefined, nowMs: number): string | undefined {
  const atMs = Date.parse(time ?? "");
  if (Number.isNaN(atMs)) return undefined;
  return atMs <= nowMs ? "due" : `in ${duration(atMs - nowMs)}`;
}

/** Bytes in binary units with three digits at most: `512 B`, `1.5 GiB`. */
export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
