import fc from "fast-check";
import { expect, test } from "vitest";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { identity } from "./harness.fake.ts";
import { type RefusedSessions, refusedLeewayMs, watchRefused } from "./refused.ts";
import { SessionTable } from "./table.ts";

const lifeMs = 5 * 60_000;
const start = Date.parse("2026-11-24T09:30:00Z");

/** A table on clocks that move only when told, and the view of it under test. */
function world() {
  let wall = start;
  let monotonic = 0;
  const clock = { now: () => wall, monotonic: () => monotonic };
  const table = new SessionTable(clock.monotonic);
  let seq = 0;
  const apply = (event: AuditEvent): void =>
    table.apply({
      ...event,
      v: 1,
      id: "rec_test00000001",
      seq: ++seq,
      time: new Date(wall).toISOString(),
    } as AuditRecord);
  const view = (longestEverMs = lifeMs): RefusedSessions =>
    watchRefused({ table, clock, longestTokenLifeMs: lifeMs, longestEverMs });
  return {
    table,
    clock,
    apply,
    watch: view,
    pass: (ms: number) => {
      wall += ms;
      monotonic += ms;
    },
    jump: (ms: number) => {
      wall += ms;
    },
    open: (id: string, hardEndAt = start + 24 * 3_600_000) => apply(opened(id, hardEndAt)),
    end: (id: string) => apply({ kind: "session.ended", session: id, data: { reason: "operator" } }),
    suspend: (id: string) => apply({ kind: "session.suspended", session: id, data: { reason: "lease_missed" } }),
    resume: (id: string) => apply({ kind: "session.resumed", session: id, data: { reason: "lease_missed" } }),
    revoke: (jti: string, until: number) => apply({ kind: "credential.revoked", data: { jti, until } }),
  };
}

function opened(id: string, hardEndAt: number): AuditEvent {
  return {
    kind: "session.opened",
    session: id,
    data: {
      identity: identity(id),
      hard_end_at: hardEndAt,
      replay_key: `replay ${id}`,
      replay_until: hardEndAt,
      refresh_hash: `hash ${id}`,
      roles: [],
      policy: "p1",
      token: "fp",
    },
  };
}

test("an active session is not listed, an ended one is, sorted", () => {
  const w = world();
  for (const id of ["b", "c", "a"]) w.open(id);
  const refused = w.watch();
  expect(refused.current()).toEqual({ sessions: [], tokens: [] });
  w.end("b");
  w.end("a");
  expect(refused.current().sessions).toEqual(["a", "b"]);
});

test("an end in memory alone is listed, before any record of it", () => {
  const w = world();
  w.open("a");
  const refused = w.watch();
  w.table.end(w.table.find("a")!, "operator", w.clock.now());
  expect(refused.current().sessions).toEqual(["a"]);
});

test("a suspended session is listed until it goes on, and for good once it ends", () => {
  const w = world();
  w.open("a");
  const refused = w.watch();
  w.suspend("a");
  expect(refused.current().sessions).toEqual(["a"]);
  w.resume("a");
  expect(refused.current().sessions).toEqual([]);
  w.suspend("a");
  w.end("a");
  w.resume("a");
  expect(refused.current().sessions).toEqual(["a"]);
});

test("a session suspended for longer than any token lives stays listed", () => {
  const w = world();
  w.open("a");
  const refused = w.watch();
  w.suspend("a");
  w.pass(10 * lifeMs);
  expect(refused.current().sessions).toEqual(["a"]);
});

test("what happened before it watches is listed too", () => {
  const w = world();
  w.open("a");
  w.open("b");
  w.end("a");
  w.suspend("b");
  w.revoke("j", start + lifeMs);
  w.pass(lifeMs);
  expect(w.watch().current()).toEqual({ sessions: ["a", "b"], tokens: ["j"] });
});

test("an end long before it watches is not listed: no token can live", () => {
  const w = world();
  w.open("a");
  w.end("a");
  w.pass(lifeMs + refusedLeewayMs + 1);
  expect(w.watch().current().sessions).toEqual([]);
});

test("a revoked token is listed past its own end, by the leeway of a gateway's clock", () => {
  const w = world();
  const refused = w.watch();
  w.revoke("j", start + 60_000);
  w.pass(60_000 + refusedLeewayMs);
  expect(refused.current().tokens).toEqual(["j"]);
  w.pass(1);
  expect(refused.current().tokens).toEqual([]);
});

test("a wall clock that jumps ahead lets nothing go, and one that jumps back keeps it longer", () => {
  const w = world();
  w.open("a");
  const refused = w.watch();
  w.end("a");
  w.jump(24 * 3_600_000);
  expect(refused.current().sessions).toEqual(["a"]);
  w.jump(-25 * 3_600_000);
  w.pass(lifeMs + refusedLeewayMs + 1);
  expect(refused.current().sessions).toEqual(["a"]);
});

test("a session of an earlier run is listed for the longest that any token may ever live", () => {
  const w = world();
  w.open("old");
  const refused = w.watch(3 * lifeMs);
  w.pass(1);
  w.open("new");
  w.end("old");
  w.end("new");
  w.pass(lifeMs + refusedLeewayMs + 1);
  expect(refused.current().sessions).toEqual(["old"]);
  w.pass(2 * lifeMs);
  expect(refused.current().sessions).toEqual([]);
});

test("what the table forgets stays listed", () => {
  const w = world();
  w.open("a", start + 1_000);
  const refused = w.watch();
  w.end("a");
  w.revoke("j", start + 1_000);
  w.table.prune(start + 24 * 3_600_000);
  expect(w.table.find("a")).toBeUndefined();
  expect(refused.current()).toEqual({ sessions: ["a"], tokens: ["j"] });
});

test("tells of each change once, and of nothing that changes nothing", () => {
  const w = world();
  w.open("a");
  const refused = w.watch();
  let told = 0;
  const stop = refused.onChange(() => told++);
  const steps: [() => void, number][] = [
    [() => w.resume("a"), 0],
    [() => w.suspend("a"), 1],
    [() => w.suspend("a"), 1],
    [() => w.resume("a"), 2],
    [() => w.suspend("a"), 3],
    [() => w.end("a"), 3], // listed already
    [() => w.end("a"), 3],
    [() => w.revoke("j", start + 1_000), 4],
    [() => w.revoke("j", start + 1_000), 4],
  ];
  for (const [step, times] of steps) {
    step();
    expect(told).toBe(times);
  }
  stop();
  w.revoke("k", start + 1_000);
  expect(told).toBe(4);
});

test("a closed view follows nothing any more", () => {
  const w = world();
  w.open("a");
  const refused = w.watch();
  refused.close();
  w.end("a");
  expect(refused.current().sessions).toEqual([]);
});

const id = fc.constantFrom("a", "b", "c");
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("open", "end", "suspend", "resume"), id }) },
  fc.record({ do: fc.constantFrom("prune", "revoke"), id }),
  fc.record({ do: fc.constant("pass"), id, ms: fc.integer({ min: 0, max: lifeMs + refusedLeewayMs }) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Does one step; notes the first end of each session that the table knows. */
function take(w: ReturnType<typeof world>, each: Step, endedAt: Map<string, number>): void {
  if ("ms" in each) w.pass(each.ms);
  else if (each.do === "prune") w.table.prune(w.clock.now());
  else if (each.do === "revoke") w.revoke(each.id, w.clock.now());
  else {
    const known = w.table.find(each.id) !== undefined;
    w[each.do as "open" | "end"](each.id);
    if (each.do === "end" && known && !endedAt.has(each.id)) endedAt.set(each.id, w.clock.now());
  }
}

test("law 4: whatever the order and repetition of events, an ended session is listed until its end plus the longest token life plus the leeway", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (steps, restarts) => {
      const w = world();
      const kept = w.watch();
      const endedAt = new Map<string, number>();
      for (const each of steps) {
        take(w, each, endedAt);
        const listed = (restarts ? w.watch() : kept).current().sessions;
        const due = [...endedAt].filter(([, at]) => w.clock.now() <= at + lifeMs + refusedLeewayMs);
        const suspended = [...w.table.all()].filter((session) => session.view.state === "suspended");
        expect(listed).toEqual([...due.map(([ended]) => ended), ...suspended.map((session) => session.id)].sort());
      }
    }),
  );
});
