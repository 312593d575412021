import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { noFacts } from "../core/fact.ts";
import type { SessionView } from "../core/session.ts";
import type { SessionChange } from "../gateway/nats/ports.ts";
import { identity } from "../session/harness.fake.ts";
import type { FeedLine } from "./nats-feed.ts";
import { NatsReplica } from "./nats-replica.ts";
import { natsPolicy, shopNats } from "./nats-world.fake.ts";

const at = Date.parse("2026-11-24T09:30:00Z");
const texts = { version: "p1", files: [{ name: "policy.yaml", text: shopNats }], issuers: [] };

function view(id: string, more: Partial<SessionView> = {}): SessionView {
  return { id, identity: identity("1"), state: "active", openedAt: at, hardEndAt: at + 3_600_000, ...more };
}

function world() {
  let now = 1_000_000;
  let compiled = 0;
  let slept = 0;
  const replica = new NatsReplica({
    clock: { monotonic: () => now, now: () => now + slept },
    compile() {
      compiled++;
      return natsPolicy(shopNats);
    },
  });
  const changes: SessionChange[] = [];
  replica.watch((change) => changes.push(change));
  const lines = {
    snapshot: (since: number, ...views: readonly SessionView[]): FeedLine => ({
      kind: "snapshot",
      since,
      at: at + since,
      policy: texts,
      sessions: views.map((each) => ({ view: each, facts: noFacts })),
    }),
    session: (since: number, each: SessionView): FeedLine => ({
      kind: "session",
      since,
      at: at + since,
      session: { view: each, facts: noFacts },
    }),
    beat: (since: number): FeedLine => ({ kind: "beat", since, at: at + since }),
  };
  return {
    ...lines,
    replica,
    changes,
    compiled: () => compiled,
    advance(ms: number) {
      now += ms;
    },
    /** The machine was asleep: only its wall clock goes on. */
    sleep(ms: number) {
      slept += ms;
    },
    /** A line of this kind about one session; any other word is silence. */
    say(what: string, since: number) {
      if (what === "snapshot") replica.take(lines.snapshot(since, view("ses_a")));
      if (what === "session") replica.take(lines.session(since, view("ses_a")));
      if (what === "beat") replica.take(lines.beat(since));
    },
  };
}

describe("what a gateway believes", () => {
  test("is nothing before the first snapshot, and nothing but a snapshot begins", () => {
    const w = world();
    expect(w.replica.fresh).toBe(false);
    expect(w.replica.policy).toBeUndefined();
    w.replica.asked();
    expect(() => w.replica.take(w.beat(0))).toThrow("begins with a snapshot");
    expect(w.replica.fresh).toBe(false);
    w.replica.take(w.snapshot(0, view("ses_a")));
    expect(w.replica.fresh).toBe(true);
    w.replica.asked(); // it broke and is asked for again
    expect(() => w.replica.take(w.session(0, view("ses_b")))).toThrow("begins with a snapshot");
  });

  test("ends five seconds after the last line, and is regained with the next one; both are told", () => {
    const w = world();
    w.replica.asked();
    w.replica.take(w.snapshot(0, view("ses_a")));
    w.changes.length = 0;
    const epochs = [w.replica.epoch("ses_a")];
    w.advance(5_000);
    w.replica.look();
    expect(w.changes).toEqual([]);
    w.advance(1);
    expect(w.replica.fresh).toBe(false);
    epochs.push(w.replica.epoch("ses_a"));
    expect(w.changes).toEqual([{ kind: "changed", session: "ses_a" }]);
    w.replica.take(w.beat(5_001));
    epochs.push(w.replica.epoch("ses_a"));
    expect(w.changes).toHaveLength(2);
    expect(epochs).toEqual([...new Set(epochs)].toSorted((a, b) => a - b));
  });

  test("is as old as a line says, not as its arrival: what lay in a buffer is not new", () => {
    const w = world();
    w.replica.asked();
    w.replica.take(w.snapshot(0, view("ses_a")));
    w.advance(20_000); // stopped, and set going again
    w.replica.take(w.beat(1_000));
    expect(w.replica.fresh).toBe(false);
    w.replica.take(w.beat(14_999));
    expect(w.replica.fresh).toBe(false);
    w.replica.take(w.beat(15_000));
    expect(w.replica.fresh).toBe(true);
  });

  test("is nothing after a sleep that the monotonic clock did not see", () => {
    const w = world();
    w.replica.asked();
    w.replica.take(w.snapshot(0, view("ses_a")));
    w.sleep(5_001);
    expect(w.replica.fresh).toBe(false);
    w.replica.take(w.beat(1));
    expect(w.replica.fresh).toBe(true);
  });

  test("never gets ahead of its own clock, whatever a line says", () => {
    const w = world();
    w.replica.asked();
    w.replica.take(w.snapshot(1_000_000, view("ses_a")));
    w.advance(5_001);
    expect(w.replica.fresh).toBe(false);
    expect(() => w.replica.take({ ...w.beat(0), since: Number.NaN })).toThrow("no time");
    expect(() => w.replica.take({ kind: "beat", since: 0 } as FeedLine)).toThrow("no time");
  });

  test("keeps the broker's time, whatever this machine's wall clock says", () => {
    const w = world();
    w.replica.asked();
    w.advance(30); // under way
    w.replica.take(w.snapshot(10));
    expect(w.replica.now()).toBe(at + 10 + 20); // ahead by what the line was under way at most
    w.advance(500);
    expect(w.replica.now()).toBe(at + 530);
  });

  test("is replaced whole by a snapshot: who is not in it has gone", () => {
    const w = world();
    w.replica.asked();
    w.replica.take(w.snapshot(0, view("ses_a"), view("ses_b")));
    w.changes.length = 0;
    w.replica.take(w.snapshot(1, view("ses_b")));
    expect(w.changes).toEqual([
      { kind: "ended", session: "ses_a", why: expect.stringContaining("it is over, or no role") },
      { kind: "changed", session: "ses_b" },
    ]);
    expect(w.replica.epoch("ses_a")).toBe(Number.MAX_SAFE_INTEGER);
    expect(w.compiled()).toBe(1); // the same version is the same policy
  });

  test("tells an end with its reason, and forgets it after some minutes", () => {
    const w = world();
    w.replica.asked();
    w.replica.take(w.snapshot(0, view("ses_a")));
    const ended = { state: "ended", endReason: "job_finished", endedAt: at } as const;
    w.replica.take(w.session(1_000, view("ses_a", ended)));
    expect(w.changes.at(-1)).toMatchObject({ kind: "ended", why: expect.stringMatching(/^job finished \d s ago$/) });
    w.replica.take(w.beat(2_000));
    expect(w.replica.session("ses_a")).toBeDefined();
    w.advance(11 * 60_000);
    w.replica.take(w.beat(11 * 60_000));
    expect(w.replica.session("ses_a")).toBeUndefined();
  });

  test("keeps a job's identity object, by which policy remembers what it found", () => {
    const w = world();
    w.replica.asked();
    w.replica.take(w.snapshot(0, view("ses_a")));
    const before = w.replica.session("ses_a")?.view.identity;
    w.replica.take(w.session(1, view("ses_a", { hardEndAt: at + 1, identity: identity("1") })));
    expect(w.replica.session("ses_a")?.view.identity).toBe(before);
    expect(w.replica.session("ses_a")?.view.hardEndAt).toBe(at + 1);
  });

  test("a policy that cannot be compiled leaves it as it was, to grow stale", () => {
    let broken = false;
    let now = 0;
    const replica = new NatsReplica({
      clock: { monotonic: () => now, now: () => now },
      compile() {
        if (broken) throw new TypeError("no policy");
        return natsPolicy(shopNats);
      },
    });
    const w = world();
    replica.asked();
    replica.take(w.snapshot(0, view("ses_a")));
    broken = true;
    const next = { ...w.snapshot(4_000, view("ses_a")), policy: { ...texts, version: "p2" } } as FeedLine;
    now = 4_000;
    expect(() => replica.take(next)).toThrow("no policy");
    now = 5_001;
    expect(replica.fresh).toBe(false);
  });

  test("another candidate or canary is another policy; the same again is not", () => {
    const w = world();
    w.replica.asked();
    const candidate = { ...texts, version: "p2", canary: { projects: [] as readonly string[], share: 0 } };
    const take = (policy: object) =>
      w.replica.take({ ...w.snapshot(0, view("ses_a")), policy: { ...texts, ...policy } } as FeedLine);
    const steps = [
      {},
      { candidate },
      { candidate },
      { candidate: { ...candidate, canary: { projects: ["acme/shop"], share: 0 } } },
      { candidate: { ...candidate, version: "p3" } },
      {},
    ].map((policy) => {
      take(policy);
      return w.compiled();
    });
    expect(steps).toEqual([1, 2, 2, 3, 4, 5]);
  });

  test("an epoch never shrinks and grows with every line about its session (law)", () => {
    const step = fc.oneof(
      fc.record({ what: fc.constantFrom("snapshot", "session", "beat"), ms: fc.nat(4_000) }),
      fc.record({ what: fc.constant("silence"), ms: fc.integer({ min: 5_001, max: 9_000 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const w = world();
        w.replica.asked();
        w.replica.take(w.snapshot(0, view("ses_a")));
        let elapsed = 0;
        let last = w.replica.epoch("ses_a");
        for (const { what, ms } of steps) {
          w.advance(ms);
          elapsed += ms;
          w.say(what, elapsed);
          const next = w.replica.epoch("ses_a");
          expect(next).toBeGreaterThanOrEqual(last + (what === "snapshot" || what === "session" ? 1 : 0));
          last = next;
        }
      }),
    );
  });
});
