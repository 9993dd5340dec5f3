const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
  Pi: 1024 ** 5,
};

/** Bytes of a Kubernetes quantity such as `512Mi`; 0 for what the API's schema would have refused. */
export function bytesOf(quantity: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([kMGTP]|[KMGTP]i)?$/.exec(quantity);
  const unit = UNITS[match?.[2] ?? ""];
  return match === null || unit === undefined ? 0 : Math.round(Number(match[1]) * unit);
}
