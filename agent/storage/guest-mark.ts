import { QuorateError } from "../../errors.ts";

/**
 * Names come again: a vmid that is chosen by hand, a guest that was deleted and made anew. So a volume says which Guest object it is
 * of, by its uid, and is used for no other.
 *
 * @param has what the volume says; undefined: an earlier version made it, so that it is not known
 * @param adopt the command that gives the volume to the guest
 * @throws QuorateError OtherGuest
 */
export function requireGuest(volume: string, has: string | undefined, guest: string | undefined, adopt: string): void {
  if (has !== undefined && has !== guest) throw otherGuest(volume, `is of another Guest object (uid ${has})`, adopt);
}

/** The refusal of a volume; `is` says what it is instead of this guest's. */
export function otherGuest(volume: string, is: string, adopt: string): QuorateError {
  return new QuorateError(
    "user",
    "OtherGuest",
    `${volume} ${is}, perhaps a deleted one; nothing of it is used or overwritten. Rename it on this node; or, if this guest is to go on with it, give it to the guest: ${adopt}`,
  );
}
