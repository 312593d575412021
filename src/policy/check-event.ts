import { sharesTokens } from "./match-nats.ts";
import type { EventModel, NatsPattern, RoleModel } from "./model.ts";
import type { PolicyParts } from "./reading.ts";

/** What only the whole policy shows of events: names that nobody declared, and events that nothing can cause. */
export function checkEvents({ reading, roles, events }: PolicyParts): void {
  const { findings, events: names } = reading;
  for (const { event, place } of reading.causes) {
    if (event === "*" || names.has(event)) continue;
    const help = findings.near(event, names) ?? "add it under events, or leave caused_by out";
    findings.error("event_unknown", place, `no event "${event}"`, { help });
  }
  if (findings.errors > 0) return; // what a broken role allows is not known
  for (const event of events) {
    if (roles.some((role) => mayPublish(role, event))) continue;
    const { target, subject } = event.on;
    const help = `allow one: ${target}: ["pub ${subject}"]`;
    findings.warn("event_never_caused", event.place, `no role lets a job publish ${subject} on ${target}`, { help });
  }
}

function mayPublish(role: RoleModel, { on }: EventModel): boolean {
  const operations = Object.hasOwn(role.allow, on.target) ? (role.allow[on.target] ?? []) : [];
  const wanted = on.subject.split(".");
  return operations.some(
    (operation) =>
      operation.kind === "nats" &&
      (operation.pattern.verb === "pub" || operation.pattern.verb === "req") &&
      sharesTokens(tokensOf(operation.pattern), wanted),
  );
}

/** A template may become any token. */
function tokensOf({ tokens }: NatsPattern): readonly string[] {
  return tokens.map((token) => (token.kind === "literal" ? token.text : token.kind === "rest" ? ">" : "*"));
}
