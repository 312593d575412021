import { asMap, type ReadResource } from "../read-resources.ts";

export interface LintWorkload {
  readonly target: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** What is given without a selector applies to every pod of its namespace. */
export function selects(resource: ReadResource, namespace: string, labels: Readonly<Record<string, unknown>>): boolean {
  if (resource.namespace !== namespace) return false;
  return Object.entries(labelsOf(resource)).every(([key, value]) => labels[key] === value);
}

/** True where one pod could be selected by both. */
export function mayMeet(a: ReadResource, b: ReadResource): boolean {
  if (a.namespace !== b.namespace) return false;
  const others = labelsOf(b);
  return Object.entries(labelsOf(a)).every(([key, value]) => !Object.hasOwn(others, key) || others[key] === value);
}

export function labelsOf(resource: ReadResource): Readonly<Record<string, unknown>> {
  const selector = asMap(asMap(resource.value.spec).selector);
  return asMap(selector.matchLabels);
}
