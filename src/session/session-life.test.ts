import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { endReasons } from "../core/session.ts";
import { harness, identity } from "./harness.fake.ts";
import { endedOwner } from "./refresh.ts";

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "accepted",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );

describe("refresh", () => {
  test("rotates a bearer token, and the predecessor within 10 s gets the same successor", async () => {
    const h = harness();
    const { refreshToken } = await h.exchange("token:1:1");
    const first = await h.refresh({ refreshToken, narrowing: {}, jkt: undefined });
    h.clock.advance(9_000);
    const again = await h.refresh({ refreshToken, narrowing: {}, jkt: undefined });
    expect(first.refreshToken).not.toBe(refreshToken);
    expect(again.refreshToken).toBe(first.refreshToken);
  });

  test("an old token that comes back later ends the session", async () => {
    const h = harness();
    const { refreshToken, session } = await h.exchange("token:1:1");
    await h.refresh({ refreshToken, narrowing: {}, jkt: undefined });
    h.clock.advance(11_000);
    expect(await code(h.refresh({ refreshToken, narrowing: {}, jkt: undefined }))).toBe("refresh_token_invalid");
    expect(h.session(session.id).view).toMatchObject({ state: "ended", endReason: "refresh_reused" });
  });

  test("a token two generations old ends the session however early it comes", async () => {
    const h = harness();
    const { refreshToken, session } = await h.exchange("token:1:1");
    const second = await h.refresh({ refreshToken, narrowing: {}, jkt: undefined });
    await h.refresh({ refreshToken: second.refreshToken, narrowing: {}, jkt: undefined });
    expect(await code(h.refresh({ refreshToken, narrowing: {}, jkt: undefined }))).toBe("refresh_token_invalid");
    expect(h.session(session.id).view.endReason).toBe("refresh_reused");
  });

  test("a key-bound token does not rotate, and needs its key", async () => {
    const h = harness();
    const { refreshToken } = await h.exchange("token:1:1", { jkt: "A" });
    expect((await h.refresh({ refreshToken, narrowing: {}, jkt: "A" })).refreshToken).toBe(refreshToken);
    expect(await code(h.refresh({ refreshToken, narrowing: {}, jkt: "B" }))).toBe("proof_invalid");
    expect(await code(h.refresh({ refreshToken, narrowing: {}, jkt: undefined }))).toBe("proof_required");
  });

  test("two refreshes at once give two generations, never one twice", async () => {
    const h = harness();
    const { refreshToken } = await h.exchange("token:1:1");
    const both = await Promise.all([1, 2].map(() => h.refresh({ refreshToken, narrowing: {}, jkt: undefined })));
    expect(new Set(both.map((issued) => issued.refreshToken)).size).toBe(1);
    expect(h.recorder.kinds().filter((kind) => kind === "session.refreshed")).toHaveLength(1);
  });

  test.each([
    { why: "an unknown token", prepare: async () => "wlr_nonsense", refused: "refresh_token_invalid" },
    {
      why: "an ended session",
      prepare: async (h: ReturnType<typeof harness>) => {
        const { refreshToken, session } = await h.exchange("token:1:1");
        await h.lifecycle.end(h.session(session.id), "operator", { by: "root" });
        return refreshToken;
      },
      refused: "session_ended",
    },
    {
      why: "a suspended session",
      prepare: async (h: ReturnType<typeof harness>) => {
        const { refreshToken, session } = await h.exchange("token:1:1");
        await h.lifecycle.suspend(h.session(session.id), "lease_missed");
        return refreshToken;
      },
      refused: "session_suspended",
    },
    {
      why: "a policy that grants nothing any more",
      prepare: async (h: ReturnType<typeof harness>) => {
        const { refreshToken } = await h.exchange("token:1:1");
        h.setPolicy({ rolesFor: () => [] });
        return refreshToken;
      },
      refused: "no_role",
    },
  ])("is refused for $why", async ({ prepare, refused }) => {
    const h = harness();
    const refreshToken = await prepare(h);
    expect(await code(h.refresh({ refreshToken, narrowing: {}, jkt: undefined }))).toBe(refused);
  });
});

describe("the lease", () => {
  const open = async () => {
    const h = harness();
    const { session } = await h.exchange("token:1:1", { jkt: "A" });
    const live = h.session(session.id);
    await h.leases.beat(live, "lease-one");
    return { h, live };
  };

  test("three missed beats suspend, the next beat resumes", async () => {
    const { h, live } = await open();
    h.clock.advance(28_000);
    await h.sweep();
    expect(live.view.state).toBe("active");
    h.clock.advance(1_500);
    await h.sweep();
    expect(live.view).toMatchObject({ state: "suspended", suspendReason: "lease_missed" });
    await h.leases.beat(live, "lease-one");
    expect(live.view.state).toBe("active");
  });

  test("five silent minutes end it, and no beat brings it back", async () => {
    const { h, live } = await open();
    h.clock.advance(300_000);
    await h.sweep();
    expect(live.view).toMatchObject({ state: "ended", endReason: "lease_lost" });
    expect(await code(h.leases.beat(live, "lease-one"))).toBe("session_ended");
  });

  test("a released lease holds nothing: the session lives on", async () => {
    const { h, live } = await open();
    await h.leases.release(live, "lease-one");
    h.clock.advance(600_000);
    await h.sweep();
    expect(live.view.state).toBe("active");
  });

  test("one silent command of two suspends, and the other's beats do not hide it", async () => {
    const { h, live } = await open();
    await h.leases.beat(live, "lease-two");
    h.clock.advance(30_000);
    await h.leases.beat(live, "lease-two");
    await h.sweep();
    await h.leases.beat(live, "lease-two");
    expect(live.view.state).toBe("suspended");
  });

  test("a command that begins takes the place of one that was killed: the job goes on", async () => {
    const { h, live } = await open();
    h.clock.advance(30_000);
    await h.sweep();
    expect(live.view.state).toBe("suspended");
    await h.leases.beat(live, "lease-two");
    expect(live.view.state).toBe("active");
    await h.leases.release(live, "lease-two");
    h.clock.advance(600_000);
    await h.sweep();
    expect(live.view.state).toBe("active");
  });

  test("a lease found held after a restart must beat again", async () => {
    const { h, live } = await open();
    expect([...(h.restart().find(live.id)?.leases.keys() ?? [])]).toEqual(["lease-one"]);
  });

  test.each(["", "short", "has space", "x".repeat(65)])("a malformed lease %j is refused", async (lease) => {
    const { h, live } = await open();
    expect(await code(h.leases.beat(live, lease))).toBe("invalid_request");
  });
});

describe("the sweep", () => {
  test("ends a session at its hard end", async () => {
    const h = harness();
    const { session } = await h.exchange("token:1:1");
    h.clock.advance(3_600_000);
    await h.sweep();
    expect(h.session(session.id).view.endReason).toBe("hard_end");
  });

  test("a policy that grants nothing suspends at once, resumes when it grants again, and ends after ten minutes", async () => {
    const h = harness();
    const { session } = await h.exchange("token:1:1");
    const live = h.session(session.id);
    h.setPolicy({ inForce: "p2", rolesFor: () => [] });
    await h.sweep();
    expect(live.view.suspendReason).toBe("policy_withdrawn");
    h.setPolicy({ inForce: "p3", rolesFor: () => [{ id: "read", targets: ["billing"] }] });
    await h.sweep();
    expect(live.view.state).toBe("active");
    h.setPolicy({ inForce: "p4", rolesFor: () => [] });
    await h.sweep();
    h.clock.advance(600_000);
    await h.sweep();
    expect(live.view.endReason).toBe("policy_withdrawn");
  });
});

describe("facts", () => {
  test("a value the CI takes back is missing at once; without an answer it stands until it is stale", async () => {
    let answer: () => Promise<Record<string, number>> = async () => ({ "change.approvals": 1 });
    const api = { jobStatus: async () => ({ status: "running", running: true, over: false }), facts: () => answer() };
    const h = harness({ api, facts: ["change.approvals"] });
    const { session } = await h.exchange("token:1:1");
    const live = h.session(session.id);
    expect(live.facts["change.approvals"]?.value).toBe(1);
    const { staleAt } = live.facts["change.approvals"] ?? { staleAt: 0 };
    answer = () => Promise.reject(new WayleaveError("ci_api_unreachable", "No answer."));
    await h.facts.poll();
    expect(live.facts["change.approvals"]).toMatchObject({ value: 1, staleAt });
    answer = async () => ({});
    await h.facts.refreshProject("gitlab", "1042");
    expect(live.facts).toEqual({});
    expect(h.recorder.kinds().at(-1)).toBe("facts.read");
  });

  test("the poller ends a session whose job is over", async () => {
    let over = false;
    const api = {
      jobStatus: async () => ({ status: over ? "failed" : "running", running: !over, over }),
      facts: async () => ({}),
    };
    const h = harness({ api });
    const { session } = await h.exchange("token:1:1");
    over = true;
    await h.facts.poll();
    expect(h.session(session.id).view.endReason).toBe("job_finished");
  });

  test("a late answer never replaces a newer one", async () => {
    const releases: ((value: Record<string, boolean>) => void)[] = [];
    const api = {
      jobStatus: async () => ({ status: "running", running: true, over: false }),
      facts: () => new Promise<Record<string, boolean>>((resolve) => releases.push(resolve)),
    };
    const h = harness({ api, facts: ["change.merged"] });
    const opening = h.exchange("token:1:1");
    while (releases.length < 1) await Promise.resolve();
    releases[0]?.({});
    const live = h.session((await opening).session.id);
    const older = h.facts.refresh(live);
    const newer = h.facts.refresh(live);
    releases[2]?.({ "change.merged": false });
    await newer;
    releases[1]?.({ "change.merged": true });
    await older;
    expect(live.facts["change.merged"]?.value).toBe(false);
  });
});

describe("an end is final", () => {
  test("it acts before its record, and even when it cannot be recorded", async () => {
    const h = harness();
    const { session } = await h.exchange("token:1:1");
    h.recorder.fail = true;
    expect(await code(h.lifecycle.end(h.session(session.id), "operator"))).toBe("journal_unavailable");
    expect(h.session(session.id).view.state).toBe("ended");
  });

  test("whatever arrives late, twice or out of order, an ended session stays ended, live and after a restart", async () => {
    const step = fc.constantFrom(
      "beat",
      "release",
      "suspend",
      "resume",
      "refresh",
      "exchange",
      "end",
      "over",
      "sweep",
      "wait",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), fc.constantFrom(...endReasons), async (steps, reason) => {
        const h = harness();
        const issued = await h.exchange("token:1:1", { jkt: "A" });
        const live = h.session(issued.session.id);
        await h.leases.beat(live, "lease-one");
        await h.lifecycle.end(live, reason);
        const acts: Record<string, () => Promise<unknown>> = {
          beat: () => h.leases.beat(live, "lease-one"),
          release: () => h.leases.release(live, "lease-one"),
          suspend: () => h.lifecycle.suspend(live, "lease_missed"),
          resume: () => h.lifecycle.resume(live, "lease_missed"),
          refresh: () => h.refresh({ refreshToken: issued.refreshToken, narrowing: {}, jkt: "A" }),
          exchange: () => h.exchange("token:1:1", { jkt: "A" }),
          end: () => h.lifecycle.end(live, "operator"),
          over: () => h.lifecycle.jobOver("gitlab", "1042", "1", "success"),
          sweep: () => h.sweep(),
          wait: async () => h.clock.advance(7_000),
        };
        for (const each of steps) await acts[each]?.().catch(() => undefined);
        expect(live.view).toMatchObject({ state: "ended", endReason: reason });
        expect(h.restart().view(live.id)).toMatchObject({ state: "ended", endReason: reason });
      }),
      { numRuns: 60 },
    );
  });

  test("what a restart knows is what was true: state, hard end, refresh generation, pins and tombstones", async () => {
    const h = harness();
    const { session, refreshToken } = await h.exchange("token:1:1");
    const next = await h.refresh({ refreshToken, narrowing: {}, jkt: undefined });
    await h.lifecycle.suspend(h.session(session.id), "lease_missed");
    await h.lifecycle.jobOver("gitlab", "1042", "99", "canceled");
    const again = h.restart();
    expect(again.view(session.id)).toEqual(h.table.view(session.id));
    expect(again.find(session.id)?.refresh).toEqual(h.session(session.id).refresh);
    expect(again.pin("gitlab", "acme/shop")).toBe("1042");
    expect(again.tombstone("gitlab", "1042", "99")?.status).toBe("canceled");
    expect(next.refreshToken).not.toBe(refreshToken);
  });
});

test("another project's id never ends a session", async () => {
  const h = harness();
  h.tokenFor("token:1:1", identity("1"));
  await h.exchange("token:1:1");
  expect(await h.lifecycle.jobOver("gitlab", "2", "1", "success")).toBe(0);
  expect(await h.lifecycle.jobOver("other", "1042", "1", "success")).toBe(0);
});

describe("the owner of an ended session", () => {
  test("is whoever holds its last refresh token and its key, and nobody else", async () => {
    const h = harness();
    const { refreshToken, session } = await h.exchange("token:1:1", { jkt: "A" });
    expect(endedOwner(h.table, refreshToken, "A")).toBeUndefined(); // it lives
    await h.lifecycle.end(h.session(session.id), "client_end");
    expect(endedOwner(h.table, refreshToken, "A")?.id).toBe(session.id);
    expect(endedOwner(h.table, refreshToken, "B")).toBeUndefined();
    expect(endedOwner(h.table, refreshToken, undefined)).toBeUndefined();
    expect(endedOwner(h.table, "wlr_other", "A")).toBeUndefined();
  });

  test("is not the holder of a replaced token", async () => {
    const h = harness();
    const { refreshToken, session } = await h.exchange("token:1:1");
    await h.refresh({ refreshToken, narrowing: {}, jkt: undefined });
    await h.lifecycle.end(h.session(session.id), "client_end");
    expect(endedOwner(h.table, refreshToken, undefined)).toBeUndefined();
  });
});

describe("a job is over by any of its ends", () => {
  test.each(["client_end", "lease_lost", "hard_end", "operator"] as const)(
    "%s: a fresh token opens nothing, live and after a restart",
    async (reason) => {
      const h = harness();
      const { session } = await h.exchange("token:1:1", { jkt: "A" });
      await h.lifecycle.end(h.session(session.id), reason);
      expect(await code(h.exchange("token:1:2", { jkt: "A" }))).toBe("job_over");
      expect(h.restart().tombstone("gitlab", "1042", "1")).toBeDefined();
    },
  );

  test("also when the end cannot be recorded", async () => {
    const h = harness();
    const { session } = await h.exchange("token:1:1");
    h.recorder.fail = true;
    await code(h.lifecycle.end(h.session(session.id), "client_end"));
    h.recorder.fail = false;
    expect(await code(h.exchange("token:1:2"))).toBe("job_over");
  });

  test("a session that policy withdrew is no end of the job", async () => {
    const h = harness();
    const { session } = await h.exchange("token:1:1");
    await h.lifecycle.end(h.session(session.id), "policy_withdrawn");
    expect(await code(h.exchange("token:1:2"))).toBe("accepted");
  });
});
