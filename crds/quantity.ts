/**
 * Quantities as Kubernetes writes them ("2Gi", "512Mi", "1500M"), for fields of memory and size.
 */
import { QuorateError } from "../errors.ts";

const factors: Record<string, number> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/**
 * The bytes that a quantity stands for, for example 2147483648 for "2Gi".
 *
 * @throws QuorateError (user, InvalidQuantity) for what is not a whole number of bytes that a JavaScript number holds exactly.
 */
export function bytesOf(quantity: string): number {
  const match = /^([0-9]+)([kMGTP]|[KMGTP]i)?$/.exec(quantity);
  const factor = factors[match?.[2] ?? ""];
  const bytes = match === null || factor === undefined ? Number.NaN : Number(match[1]) * factor;
  if (!Number.isSafeInteger(bytes)) {
    throw new QuorateError(
      "user",
      "InvalidQuantity",
      `"${quantity}" is not a whole number of bytes; write it as in 512Mi or 2Gi`,
    );
  }
  return bytes;
}
