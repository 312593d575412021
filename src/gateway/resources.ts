import { Document } from "yaml";

/** One Kubernetes resource, as a renderer makes it. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  /** Absent for kinds that have `data` instead. */
  readonly spec?: object;
  readonly data?: Readonly<Record<string, string>>;
}

/** By which `kubectl apply --prune` finds what is not rendered any more. */
export const ownerLabel = "wayleave-gateway";

/**
 * YAML documents, one for each resource, labelled with the gateway's name, with the comment above: the same resources give the same bytes. Read as YAML 1.1,
 * which Kubernetes does, no text turns into a boolean or a number.
 */
export function printResources(comment: string, gateway: string, resources: readonly Resource[]): string {
  const labelled = resources.map(({ apiVersion, kind, metadata, ...rest }) => ({
    apiVersion,
    kind,
    metadata: { ...metadata, labels: { [ownerLabel]: gateway } },
    ...rest,
  }));
  return `${commented(comment)}${labelled.map((resource) => `---\n${printYaml(resource)}`).join("")}`;
}

/** One YAML document without a marker in front. */
export function printYaml(value: object, comment?: string): string {
  const document = new Document(value, { version: "1.1", aliasDuplicateObjects: false });
  return `${comment === undefined ? "" : commented(comment)}${document.toString({ lineWidth: 0 })}`;
}

function commented(text: string): string {
  return text
    .split("\n")
    .map((line) => `# ${line}\n`)
    .join("");
}
