/**
 * What every object of Kubernetes has, as kube/ defines it: one definition for the objects of the API and for all others.
 */
export type { Applied, KubeObject, ObjectMeta, ResourceType, Written } from "../kube/index.ts";
