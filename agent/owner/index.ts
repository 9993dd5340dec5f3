/** What a node does with the guests that it owns. */
export { GuestOwner, type GuestOwnerOptions, guestDefinition } from "./guest-owner.ts";
