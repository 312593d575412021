import type { AuditRecord } from "../core/record.ts";
import type { StoryFacts } from "./story-facts.ts";
import { type Hop, passedOn } from "./story-hop.ts";
import type { NatsConnectionStory } from "./story-nats.ts";

/** How one enforcement point learned that the session is over. */
export interface EndPoint {
  readonly gateway: string;
  /** ms from the end to the first request it refused; undefined where it was not asked since. */
  readonly firstRefusedAfterMs?: number;
  /** ms from the end to the last request it passed, where that was after it. */
  readonly lastPassedAfterMs?: number;
  /** ms from the end to the close of the last connection that was open then. */
  readonly closedAfterMs?: number;
  readonly boundMs: number;
}

/** When each gateway that the session used first refused it. Empty while it lives. */
export function endPoints(
  facts: StoryFacts,
  requests: readonly Hop[],
  connections: readonly NatsConnectionStory[],
  ended: AuditRecord | undefined,
): readonly EndPoint[] {
  const endedAt = facts.session.endedAt ?? (ended === undefined ? undefined : Date.parse(ended.time));
  if (endedAt === undefined) return [];
  const all = requests.flatMap(withInner);
  return facts.gateways.flatMap((gateway) => {
    const hops = all.filter((hop) => hop.gateway === gateway);
    const held = connections.filter((each) => each.gateway === gateway.name);
    if (hops.length === 0 && held.length === 0) return [];
    const closed = held.flatMap(({ closedAfterMs }) => closedAfterMs ?? []);
    // Our own clock is exact where we decided; a gateway's log may have whole seconds only.
    const times = hops.map((hop) => ({
      after: (hop.decision === undefined ? hop.at : Date.parse(hop.decision.time)) - endedAt,
      passed: passedOn(hop),
    }));
    const refused = times.filter(({ after, passed }) => passed === false && after >= 0).map(({ after }) => after);
    const passed = times.filter((time) => time.passed === true && time.after > 0).map(({ after }) => after);
    return [
      {
        gateway: gateway.name,
        boundMs: gateway.boundMs,
        ...(refused.length === 0 ? {} : { firstRefusedAfterMs: Math.min(...refused) }),
        ...(passed.length === 0 ? {} : { lastPassedAfterMs: Math.max(...passed) }),
        ...(closed.length === 0 ? {} : { closedAfterMs: Math.max(...closed) }),
      },
    ];
  });
}

function withInner(hop: Hop): readonly Hop[] {
  return [hop, ...hop.inner.flatMap(withInner)];
}
