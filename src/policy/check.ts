import { checkAccounts } from "./check-account.ts";
import { checkEditions } from "./check-edition.ts";
import { checkEvents } from "./check-event.ts";
import type { Findings } from "./findings.ts";
import type { Pins } from "./lock.ts";
import type { EventModel, Place, RoleModel, SelectorClause, SelectorModel, StringPattern } from "./model.ts";
import { hasId, issuersOf, selectorProjects } from "./named-projects.ts";
import { startedProject } from "./parse-event-start.ts";
import { matchesPattern } from "./parse-glob.ts";
import { splitOutside } from "./parse-template.ts";
import type { NamedTarget, PolicyInput, PolicyParts } from "./reading.ts";

export interface PolicyCheck extends PolicyParts {
  readonly pins: Pins;
  /** True where a lock file was given. */
  readonly locked: boolean;
  readonly input: PolicyInput;
  readonly findings: Findings;
}

/** What only the whole policy shows: names nobody uses, hosts two targets claim, projects without a pin, values never seen. */
export function checkPolicy(check: PolicyCheck): void {
  checkHosts([...check.reading.targets.values()], check.findings);
  checkAccounts(check);
  checkEvents(check);
  checkEditions(check, check.input, check.findings);
  checkUnused(check);
  checkSeen(check);
  if (check.locked) checkPins(check);
  checkSubjects(check);
}

interface Host {
  readonly target: string;
  readonly host: string;
  readonly place: Place;
}

/** Hosts decide which target a request is for, so one host belongs to one target. */
function checkHosts(targets: readonly NamedTarget[], findings: Findings): void {
  const hosts = new Map<string, Host>();
  for (const { name, place, read, hostPlaces } of targets) {
    for (const [index, host] of (read?.hosts ?? []).entries()) {
      const at = hostPlaces[index] ?? place;
      const earlier = hosts.get(host);
      if (!earlier) {
        hosts.set(host, { target: name, host, place: at });
        continue;
      }
      const message =
        earlier.target === name ? `${host} is here twice` : `${host} belongs to ${earlier.target} already`;
      const help = "a host names one target; give each its own";
      findings.error("host_taken", at, message, { help, note: `first at ${earlier.place.file}:${earlier.place.line}` });
    }
  }
  warnOverlaps([...hosts.values()], findings);
}

const labelsOf = (host: string) => splitOutside(host, ".").map((label) => label.text);
const isHole = (label: string) => label.includes("${");

/** Hosts that a template of another target may become. Each host is masked by each distinct set of holes and looked up. */
function warnOverlaps(hosts: readonly Host[], findings: Findings): void {
  const templates = new Map<string, Host>();
  const holes = new Map<string, readonly boolean[]>();
  for (const host of hosts) {
    const labels = labelsOf(host.host);
    if (!labels.some(isHole)) continue;
    const flags = labels.map(isHole);
    holes.set(flags.join(), flags);
    templates.set(labels.map((label) => (isHole(label) ? "*" : label)).join("."), host);
  }
  for (const { target, host, place } of hosts) {
    const labels = labelsOf(host);
    for (const flags of holes.values()) {
      if (flags.length !== labels.length) continue;
      const found = templates.get(labels.map((label, at) => (flags[at] ? "*" : label)).join("."));
      if (!found || found.target === target) continue;
      const note = `${found.target} has ${found.host} (${found.place.file}:${found.place.line})`;
      const help = "give the template a domain of its own";
      findings.warn("host_overlaps", place, `${host} may also be a host of ${found.target}`, { help, note });
    }
  }
}

function checkUnused({ reading, roles, deny, events, findings }: PolicyCheck): void {
  if (findings.errors > 0) return; // what a broken role uses is not known
  const allowed = new Set([...roles.flatMap((role) => Object.keys(role.allow)), ...events.map(({ on }) => on.target)]);
  for (const target of reading.targets.values()) {
    if (allowed.has(target.name) || (target.read?.unidentified.length ?? 0) > 0) continue;
    findings.warn("target_unused", target.place, `no role allows anything on ${target.name}`, {
      help: "allow something, or leave it out",
    });
  }
  const used = new Set([...roles, ...deny, ...events].flatMap((rule) => rule.for.map((selector) => selector.name)));
  for (const who of reading.who.values()) {
    if (used.has(who.name)) continue;
    findings.warn("who_unused", who.place, `nothing is for "${who.name}"`, {
      help: "name it in a for, or leave it out",
    });
  }
}

/** Whose selectors must name somebody: `role read`, `event deploy`. */
interface User {
  readonly what: "role" | "event";
  readonly rule: RoleModel | EventModel;
}

/** Each selector once, with the roles and events that use it. */
function selectorsOf({ roles, events }: PolicyCheck): Map<SelectorModel, User[]> {
  const found = new Map<SelectorModel, User[]>();
  const users = [
    ...roles.map((rule): User => ({ what: "role", rule })),
    ...events.map((rule): User => ({ what: "event", rule })),
  ];
  for (const user of users) {
    for (const selector of user.rule.for) {
      const list = found.get(selector);
      if (list) list.push(user);
      else found.set(selector, [user]);
    }
  }
  return found;
}

function checkSeen(check: PolicyCheck): void {
  const { input, findings } = check;
  const seen = new Map(Object.entries(input.seen ?? {}));
  if (seen.size === 0) return;
  for (const [selector, users] of selectorsOf(check)) {
    for (const clause of selector.clauses) {
      const values = seen.get(clause.field) ?? [];
      if (values.length === 0 || clause.values.some((value) => isSeen(value, values))) continue;
      warnUnseen(clause, values, users, findings);
    }
  }
}

function warnUnseen(
  clause: SelectorClause,
  values: readonly string[],
  users: readonly User[],
  findings: Findings,
): void {
  const [value] = clause.values;
  const text = typeof value === "object" ? sourceOf(value) : String(value);
  const shown = values.slice(0, 5).join(", ") + (values.length > 5 ? ", …" : "");
  const rules = users.slice(0, 3).map(({ what, rule }) => `${what} ${rule.name} (line ${rule.place.line})`);
  findings.warn("selector_never_matches", clause.place, "no job of the last 30 days matches this selector", {
    label: `seen: ${shown}`,
    help: findings.near(text, values) ?? "leave it if such jobs are still to come",
    note: `used by ${rules.join(", ")}`,
  });
}

function sourceOf(pattern: StringPattern): string {
  return pattern.kind === "exact" ? pattern.text : pattern.source;
}

function isSeen(value: SelectorClause["values"][number], seen: readonly string[]): boolean {
  return typeof value === "boolean" || seen.some((text) => matchesPattern(value, text));
}

/** With a lock file, every project path that a role or an event names should have its id there. */
function checkPins(check: PolicyCheck): void {
  const { reading, events, pins, input, findings } = check;
  for (const event of events) checkStartPin(event, check);
  for (const selector of selectorsOf(check).keys()) {
    if (selector.issuer === undefined || hasId(selector)) continue;
    const issuers = issuersOf(selector, input.issuers ?? []);
    for (const { path, value } of selectorProjects(selector)) {
      const place = reading.places.get(value) ?? selector.place;
      const missing = issuers.filter((issuer) => !Object.hasOwn(pins, `${issuer}/${path}`));
      if (missing.length === 0) continue;
      const message = `${path} is not pinned to its id`;
      const help = `add "${missing[0]}/${path}" to the lock file`;
      findings.warn("project_unpinned", place, message, { help });
    }
  }
}

function checkStartPin({ start, place }: EventModel, { pins, findings }: PolicyCheck): void {
  const path = startedProject(start);
  if (/^\d+$/.test(path) || Object.hasOwn(pins, `${start.issuer}/${path}`)) return;
  const help = `add "${start.issuer}/${path}" to the lock file`;
  findings.warn("project_unpinned", place, `${path} is not pinned to its id`, { help });
}

const maxSubjectBytes = 127;

/** `sub` holds issuer and project id; longer than 127 bytes, other software cuts it. */
function checkSubjects({ pins, input, findings }: PolicyCheck): void {
  if (input.trustDomain === undefined || !input.lock) return;
  for (const [key, id] of Object.entries(pins)) {
    const sub = `spiffe://${input.trustDomain}/ci/${key.slice(0, key.indexOf("/"))}/${id}`;
    const bytes = Buffer.byteLength(sub);
    if (bytes <= maxSubjectBytes) continue;
    const place: Place = { file: input.lock.name, line: 1, column: 1, length: 1 };
    const message = `the sub of ${key} would be ${bytes} bytes long`;
    findings.error("sub_too_long", place, message, {
      help: `at most ${maxSubjectBytes}: shorten the trust domain or the issuer's name`,
    });
  }
}
