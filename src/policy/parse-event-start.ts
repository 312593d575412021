import type { IssuerType } from "../core/identity.ts";
import type { EventStart } from "./model.ts";
import type { Reading } from "./reading.ts";
import type { Event } from "./schema.ts";
import { hasKey, type Path, placeOf, placeOfKey, type Source } from "./source.ts";

type Written = Event["start"][string];

interface FieldRule {
  readonly field: keyof Written;
  readonly fits: (text: string) => boolean;
  readonly what: string;
  readonly example: string;
}

const isSlug = (text: string) => /^[a-z0-9][a-z0-9-]{0,99}$/.test(text);

/** A full path of at least two parts, or an id. */
const isProject = (text: string) => text.length <= 255 && /^([1-9][0-9]{0,18}|\w[\w.-]*(\/\w[\w.-]*)+)$/.test(text);

/** A branch or tag as git names them (git-check-ref-format), spelled without `refs/…`; no template. */
function isRef(text: string): boolean {
  if (!/^[^\s\p{Cc}~^:?*[\\]{1,255}$/u.test(text) || text.includes("${")) return false;
  return !/^[-/]|^refs\/|^@$|\.\.|@\{|\/\/|(^|\/)\.|\.lock(\/|$)|[/.]$/.test(text);
}

const refRule = (field: "ref" | "branch"): FieldRule => ({
  field,
  fits: isRef,
  what: "one branch or tag, without refs/…",
  example: "main",
});

/** What a start names, by the types of CI that events can start pipelines in. */
const rules = {
  gitlab: [
    { field: "project", fits: isProject, what: "the path or the id of one project", example: "acme/deploy" },
    refRule("ref"),
  ],
  buildkite: [
    { field: "organization", fits: isSlug, what: "the slug of one organization", example: "acme" },
    { field: "pipeline", fits: isSlug, what: "the slug of one pipeline", example: "deploy" },
    refRule("branch"),
  ],
} as const satisfies Readonly<Partial<Record<IssuerType, readonly FieldRule[]>>>;

type StartType = keyof typeof rules;
const isStartType = (type: IssuerType): type is StartType => Object.hasOwn(rules, type);

/**
 * The one pipeline an event starts, its issuer by configured name where there is one; undefined with its mistakes reported.
 * Not checked: whether there is such a pipeline, and a credential to start it with.
 */
export function parseEventStart(
  value: Event["start"],
  source: Source,
  path: Path,
  reading: Reading,
): EventStart | undefined {
  const { findings } = reading;
  const [written, second] = Object.keys(value);
  if (written === undefined || second !== undefined) {
    const place = placeOfKey(source, second === undefined ? path : [...path, second]);
    const help = "for example start: { gitlab: { project: acme/deploy, ref: main } }; two pipelines are two events";
    findings.error("event_start_unclear", place, "an event starts one pipeline", { help });
    return undefined;
  }
  const at = [...path, written];
  const found = findIssuer(written, source, at, reading);
  if (found === undefined) return undefined;
  const { name: issuer, type } = found;
  if (!isStartType(type)) {
    const help = `events start pipelines of ${Object.keys(rules).join(" and ")}`;
    findings.error("event_start_invalid", placeOfKey(source, at), `${type} pipelines cannot be started`, { help });
    return undefined;
  }
  const parts = readFields(type, value[written] ?? {}, source, at, reading);
  return parts && { ...parts, issuer };
}

function findIssuer(name: string, source: Source, path: Path, { issuers, configured, findings }: Reading) {
  const place = placeOfKey(source, path);
  const type = issuers.get(name);
  if (type === undefined) {
    const help = findings.near(name, issuers.keys());
    findings.error("issuer_unknown", place, `no issuer "${name}"`, { help });
    return undefined;
  }
  if (configured.length === 0 || configured.some((one) => one.name === name)) return { name, type };
  const [only, other] = configured.filter((one) => one.type === type);
  if (only !== undefined && other === undefined) return { name: only.name, type };
  const names = configured.map((one) => one.name).join(", ");
  const message =
    only === undefined ? `no issuer of type ${name} is configured` : `${name} may be one of several issuers`;
  findings.error(only === undefined ? "issuer_unknown" : "issuer_unclear", place, message, {
    help: `name one of: ${names}`,
  });
  return undefined;
}

type Parts = EventStart extends infer S ? (S extends EventStart ? Omit<S, "issuer"> : never) : never;

function readFields(
  type: StartType,
  written: Written,
  source: Source,
  path: Path,
  reading: Reading,
): Parts | undefined {
  const { findings } = reading;
  const fieldRules: readonly FieldRule[] = rules[type];
  const before = findings.errors;
  for (const field of Object.keys(written)) {
    if (fieldRules.some((rule) => rule.field === field)) continue;
    const help = `of a pipeline it says ${fieldRules.map((rule) => rule.field).join(", ")}`;
    findings.error("unknown_key", placeOfKey(source, [...path, field]), `${type} has no "${field}" here`, { help });
  }
  for (const { field, fits, what, example } of fieldRules) {
    const text = written[field];
    const help = `for example ${field}: ${example}`;
    if (text === undefined) {
      // What is there and is no text was reported when the file's shape was checked.
      if (hasKey(source, path, field)) continue;
      findings.error("missing_key", placeOfKey(source, path), `"${field}" is missing`, { help });
    } else if (!fits(text)) {
      findings.error("event_start_invalid", placeOf(source, [...path, field]), `this must be ${what}`, { help });
    }
  }
  if (findings.errors !== before) return undefined;
  const { project = "", ref = "", organization = "", pipeline = "", branch = "" } = written;
  return type === "gitlab" ? { type, project, ref } : { type, organization, pipeline, branch };
}

/** `acme/deploy`, whichever CI it is at. */
export function startedProject(start: EventStart): string {
  return start.type === "gitlab" ? start.project : `${start.organization}/${start.pipeline}`;
}
