/** A lab with Quorate installed in it, for scenarios and for the demo. */
export { Installed, type Manifest, NAMESPACE } from "./installed.ts";
