import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { harness, identity } from "./harness.fake.ts";

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "accepted",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );
const running = { status: "running", running: true, over: false };
const answers = (status: object) => ({ jobStatus: async () => ({ ...running, ...status }), facts: async () => ({}) });

describe("an exchange", () => {
  test("opens a session whose records are durable before the answer, and pins the project's id", async () => {
    const h = harness();
    const issued = await h.exchange("token:7712:1");
    expect(h.recorder.kinds()).toEqual(["project.pinned", "session.opened", "credential.minted"]);
    expect(issued.record).toBe(h.recorder.records[1]?.id);
    expect(issued.targets).toEqual(["billing", "events"]);
    expect(issued.session.hardEndAt).toBe(h.clock.now() + 3_600_000);
    expect(issued.expiresAt - h.clock.now()).toBe(60_000); // the shortest ttl of its roles
  });

  test("takes no token again of which a clock that went forward and back made it forget", async () => {
    const h = harness();
    await h.exchange("token:1:1");
    expect(await code(h.exchange("token:1:1"))).toBe("subject_token_replayed");
    h.table.prune(h.clock.now() + 2 * 24 * 3_600_000);
    expect(h.table.replay("replay:token:1:1")).toBeUndefined();
    expect(await code(h.exchange("token:1:1"))).toBe("subject_token_expired");
  });

  test("narrows to the roles and targets asked for", async () => {
    const h = harness();
    const issued = await h.exchange("token:1:1", { narrowing: { roles: ["read"], targets: ["billing"] } });
    expect(issued).toMatchObject({ roles: ["read"], targets: ["billing"] });
  });

  test("by a runner that proved itself says so, where selectors look", async () => {
    const h = harness();
    const runner = "spiffe://acme.example/runner/linux-1";
    const { session } = await h.exchange("token:1:1", { runner });
    expect(session.identity.runner?.spiffeId).toBe(runner);
    expect(session.identity.attributes.runner).toBe(runner);
    expect(h.recorder.records.find(({ kind }) => kind === "session.opened")?.data).toMatchObject({
      identity: { runner: { spiffeId: runner } },
    });
  });

  test("without a runner's proof claims none", async () => {
    const { session } = await harness().exchange("token:1:1");
    expect(session.identity.runner?.spiffeId).toBeUndefined();
    expect(session.identity.attributes).not.toHaveProperty("runner");
  });

  test("gives a token for a gateway that hears of an end late a short life", async () => {
    const h = harness();
    h.setPolicy({ rolesFor: () => [{ id: "call", targets: ["billing", "mesh"] }] });
    const wide = await h.exchange("token:1:1");
    expect(wide.expiresAt - h.clock.now()).toBe(20_000);
    const narrow = await h.exchange("token:2:2", { narrowing: { targets: ["billing"] } });
    expect(narrow.expiresAt - h.clock.now()).toBe(300_000);
  });

  test("never mints past the session's hard end", async () => {
    const h = harness();
    const issued = await h.exchange("token:1:1");
    h.clock.advance(3_600_000 - 20_500);
    const later = await h.refresh({ refreshToken: issued.refreshToken, narrowing: {}, jkt: undefined });
    expect(later.expiresAt).toBeLessThanOrEqual(issued.session.hardEndAt);
  });
});

describe("an exchange is refused", () => {
  test.each([
    { why: "for a role the job does not have", more: { narrowing: { roles: ["admin"] } }, refused: "invalid_scope" },
    { why: "for an empty list of roles", more: { narrowing: { roles: [] } }, refused: "invalid_scope" },
    { why: "for a target no role names", more: { narrowing: { targets: ["db"] } }, refused: "invalid_target" },
    {
      why: "for a target outside the narrowed roles",
      more: { narrowing: { roles: ["read"], targets: ["events"] } },
      refused: "invalid_target",
    },
  ])("$why", async ({ more, refused }) => {
    const h = harness();
    expect(await code(h.exchange("token:1:1", more))).toBe(refused);
    expect(h.recorder.records).toEqual([]);
  });

  test("when no role matches the job", async () => {
    const h = harness();
    h.setPolicy({ rolesFor: () => [] });
    expect(await code(h.exchange("token:1:1"))).toBe("no_role");
  });

  test("when the journal cannot take the record", async () => {
    const h = harness();
    h.recorder.fail = true;
    expect(await code(h.exchange("token:1:1"))).toBe("journal_unavailable");
    expect([...h.table.all()]).toEqual([]);
  });

  test("when a project path comes back with another id", async () => {
    const h = harness();
    await h.exchange("token:1:1");
    h.tokenFor("token:2:1", identity("2", { project: { id: "666", path: "acme/shop" } }));
    expect(await code(h.exchange("token:2:1"))).toBe("project_id_changed");
  });

  test("when the lock file pins another id, whatever was seen", async () => {
    const h = harness();
    h.setPolicy({ pins: { "gitlab/acme/shop": "1" } });
    expect(await code(h.exchange("token:1:1"))).toBe("project_id_changed");
  });

  test.each([
    { status: { status: "success", running: false, over: true }, refused: "job_over" },
    { status: { status: "pending", running: false, over: false }, refused: "job_not_running" },
  ])("when the CI's API says $status.status", async ({ status, refused }) => {
    const h = harness({ api: answers(status) });
    expect(await code(h.exchange("token:1:1"))).toBe(refused);
  });

  test("when the CI's API cannot be asked", async () => {
    const unreachable = new WayleaveError("ci_api_unreachable", "No answer.");
    const h = harness({ api: { jobStatus: () => Promise.reject(unreachable), facts: async () => ({}) } });
    expect(await code(h.exchange("token:1:1"))).toBe("ci_api_unreachable");
  });

  test("after the job was said to be over, before it ever opened a session", async () => {
    const h = harness();
    await h.lifecycle.jobOver("gitlab", "1042", "7712", "canceled");
    expect(await code(h.exchange("token:7712:1"))).toBe("job_over");
  });

  test("but another project's hook says nothing about this job", async () => {
    const h = harness();
    await h.lifecycle.jobOver("gitlab", "666", "7712", "success");
    expect(await code(h.exchange("token:7712:1"))).toBe("accepted");
  });

  test("when the job ends while the exchange is being recorded", async () => {
    const h = harness();
    const exchange = code(h.exchange("token:7712:1"));
    const over = h.lifecycle.jobOver("gitlab", "1042", "7712", "success");
    expect(await exchange).toBe("job_over");
    await over;
    expect([...h.table.all()].every((session) => session.view.state === "ended")).toBe(true);
  });
});

describe("the same subject token again", () => {
  test("is refused without proof or key, saying when, by whom and from where it was first used", async () => {
    const h = harness();
    const issued = await h.exchange("token:1:1");
    const error = await h.exchange("token:1:1", { from: "203.0.113.9" }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "subject_token_replayed" });
    expect(String(error)).toContain("2026-11-24T09:30:00.000Z");
    expect(String(error)).toContain(issued.session.id);
    expect(String(error)).toContain("10.0.0.1");
  });

  test("with the same Idempotency-Key within 60 s is the same session", async () => {
    const h = harness();
    const first = await h.exchange("token:1:1", { idempotencyKey: "k".repeat(32) });
    h.clock.advance(59_000);
    const again = await h.exchange("token:1:1", { idempotencyKey: "k".repeat(32) });
    expect(again.session.id).toBe(first.session.id);
  });

  test.each([
    { why: "another key", key: "x".repeat(32), later: 1_000 },
    { why: "the same key after 60 s", key: "k".repeat(32), later: 61_000 },
    { why: "no key", key: undefined, later: 1_000 },
  ])("with $why is refused", async ({ key, later }) => {
    const h = harness();
    await h.exchange("token:1:1", { idempotencyKey: "k".repeat(32) });
    h.clock.advance(later);
    expect(await code(h.exchange("token:1:1", { idempotencyKey: key }))).toBe("subject_token_replayed");
  });

  test("with a proof by the same key is the same session and the same refresh token", async () => {
    const h = harness();
    const first = await h.exchange("token:1:1", { jkt: "A" });
    h.clock.advance(600_000);
    const again = await h.exchange("token:1:1", { jkt: "A" });
    expect(again.session.id).toBe(first.session.id);
    expect(again.refreshToken).toBe(first.refreshToken);
  });

  test("with a proof by another key is refused, also with the right Idempotency-Key", async () => {
    const h = harness();
    await h.exchange("token:1:1", { jkt: "A", idempotencyKey: "k".repeat(32) });
    expect(await code(h.exchange("token:1:1", { jkt: "B", idempotencyKey: "k".repeat(32) }))).toBe(
      "subject_token_replayed",
    );
  });

  test("twice at once opens one session", async () => {
    const h = harness();
    const [a, b] = await Promise.all([h.exchange("token:1:1", { jkt: "A" }), h.exchange("token:1:1", { jkt: "A" })]);
    expect(a.session.id).toBe(b.session.id);
    expect(h.recorder.kinds().filter((kind) => kind === "session.opened")).toHaveLength(1);
  });

  test("twice at once without a key opens one session and refuses the other", async () => {
    const h = harness();
    const codes = await Promise.all([code(h.exchange("token:1:1")), code(h.exchange("token:1:1"))]);
    expect(codes.toSorted()).toEqual(["accepted", "subject_token_replayed"]);
  });

  test("after the end opens nothing", async () => {
    const h = harness();
    const { session } = await h.exchange("token:1:1", { jkt: "A" });
    await h.lifecycle.end(h.session(session.id), "client_end");
    expect(await code(h.exchange("token:1:1", { jkt: "A" }))).toBe("session_ended");
  });

  test("is still refused after a restart", async () => {
    const h = harness();
    await h.exchange("token:1:1");
    expect(h.restart().replay("replay:token:1:1")).toMatchObject({ from: "10.0.0.1" });
  });
});

describe("a fresh token of the same job", () => {
  test("with the same key renews a renewable session", async () => {
    const h = harness({ renewable: true });
    const first = await h.exchange("token:1:1", { jkt: "A" });
    h.clock.advance(1_800_000);
    const again = await h.exchange("token:1:2", { jkt: "A" });
    expect(again.session.id).toBe(first.session.id);
    expect(again.session.hardEndAt).toBeGreaterThan(first.session.hardEndAt);
  });

  test("with another key opens a session of its own, and the job's end ends both", async () => {
    const h = harness();
    await h.exchange("token:1:1", { jkt: "A" });
    await h.exchange("token:1:2", { jkt: "B" });
    expect(await h.lifecycle.jobOver("gitlab", "1042", "1", "success")).toBe(2);
  });
});
