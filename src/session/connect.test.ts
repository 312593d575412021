import { expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { harness, identity } from "./harness.fake.ts";

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "accepted",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );
const running = { status: "running", running: true, over: false };

const at = (subjectToken: string, gateway = "jobs", accept = () => undefined) => ({
  subjectToken,
  gateway,
  from: "10.0.0.7",
  accept,
});

test("a token presented at a gateway opens the session, and no credential is made", async () => {
  const h = harness();
  const session = await h.connect(at("token:7712:1"));
  expect(h.recorder.kinds()).toEqual(["project.pinned", "session.opened"]);
  expect(session.view.state).toBe("active");
  expect(session.leased).toBe(false);
  expect(session.view.hardEndAt).toBe(h.clock.now() + 3_600_000);
  expect(h.recorder.records[1]?.data).toMatchObject({ from: "10.0.0.7", presented: { gateway: "jobs" } });
});

test("the very same token finds its session again, as often as it likes, also after its own time and a restart", async () => {
  const h = harness({ renewable: true });
  const session = await h.connect(at("token:7712:1"));
  h.clock.advance(1_800_000);
  expect(await h.connect(at("token:7712:1"))).toBe(session);
  const [hash] = [session.presented?.tokenHash ?? ""];
  expect(h.restart().byTokenHash(hash)?.id).toBe(session.id);
  expect(h.recorder.kinds().filter((kind) => kind === "session.opened")).toHaveLength(1);
});

test("two clients that present it at once get one session", async () => {
  const h = harness();
  const found = await Promise.all([h.connect(at("token:1:1")), h.connect(at("token:1:1")), h.connect(at("token:1:1"))]);
  expect(new Set(found).size).toBe(1);
});

test("it is found for its end to be told", async () => {
  const h = harness();
  const session = await h.connect(at("token:1:1"));
  await h.lifecycle.end(session, "operator");
  expect((await h.connect(at("token:1:1"))).view.endReason).toBe("operator");
});

test("the facts that its roles ask for are read at once", async () => {
  const api = { jobStatus: async () => running, facts: async () => ({ "change.merged": true }) };
  const h = harness({ api, facts: ["change.merged"] });
  const session = await h.connect(at("token:1:1"));
  expect(session.facts["change.merged"]?.value).toBe(true);
});

test("is refused at another gateway, whoever brings it", async () => {
  const h = harness();
  await h.connect(at("token:1:1"));
  await expect(h.connect(at("token:1:1", "others"))).rejects.toThrow(/used.*not here.*wayleave nats env/s);
  expect(await code(h.connect(at("token:1:1", "others")))).toBe("subject_token_replayed");
});

test("is refused once it was exchanged, and cannot be exchanged once it was presented", async () => {
  const h = harness();
  await h.exchange("token:1:1", { jkt: "key-1" });
  expect(await code(h.connect(at("token:1:1")))).toBe("subject_token_replayed");
  await h.connect(at("token:2:1"));
  expect(await code(h.exchange("token:2:1"))).toBe("subject_token_replayed");
  expect(await code(h.exchange("token:2:1", { jkt: "key-2", idempotencyKey: "again" }))).toBe("subject_token_replayed");
});

test("exchanged and presented at once, only one of both happens", async () => {
  const h = harness();
  const both = await Promise.all([code(h.exchange("token:1:1")), code(h.connect(at("token:1:1")))]);
  expect(both.toSorted()).toEqual(["accepted", "subject_token_replayed"]);
});

test("a token with the same id but other bytes is another token: refused", async () => {
  const h = harness();
  const session = await h.connect(at("token:1:1"));
  expect(h.table.byTokenHash(`${session.presented?.tokenHash}0`)).toBeUndefined();
  // What verification would say of a second spelling: the same replay key.
  h.sameToken("token:1:1", "token:1:one");
  expect(await code(h.connect(at("token:1:one")))).toBe("subject_token_replayed");
});

test("what the gateway does not accept opens nothing, and the token stays unused", async () => {
  const h = harness();
  const refuse = () => {
    throw new WayleaveError("access_denied", "No target here.");
  };
  expect(await code(h.connect(at("token:1:1", "jobs", refuse)))).toBe("access_denied");
  expect(h.recorder.records).toEqual([]);
  expect(await code(h.exchange("token:1:1"))).toBe("accepted");
});

test.each([
  { why: "is none", token: "rubbish", refused: "subject_token_invalid" },
  { why: "is of a job that is over", token: "token:over:1", refused: "job_over" },
  { why: "is of a job the CI does not run", token: "token:pending:1", refused: "job_not_running" },
  { why: "is of a job nobody can ask about", token: "token:away:1", refused: "ci_api_unreachable" },
])("a token that $why opens nothing", async ({ token, refused }) => {
  const h = harness({
    api: {
      jobStatus: async ({ job }) => {
        if (job.id === "away") throw new WayleaveError("ci_api_unreachable", "No answer.");
        if (job.id === "over") return { status: "success", running: false, over: true };
        return { status: "pending", running: false, over: false };
      },
      facts: async () => ({}),
    },
  });
  expect(await code(h.connect(at(token)))).toBe(refused);
  expect(h.recorder.kinds()).not.toContain("session.opened");
});

test("no role, another project of the same name, a full disk, an expired token: nothing is opened", async () => {
  const h = harness();
  h.tokenFor("token:5:1", identity("5", { project: { id: "666", path: "acme/shop" } }));
  await h.connect(at("token:1:1"));
  expect(await code(h.connect(at("token:5:1")))).toBe("project_id_changed");
  h.recorder.fail = true;
  expect(await code(h.connect(at("token:6:1")))).toBe("journal_unavailable");
  h.recorder.fail = false;
  h.setPolicy({ rolesFor: () => [] });
  expect(await code(h.connect(at("token:7:1")))).toBe("no_role");
  expect([...h.table.all()]).toHaveLength(1);
});

test("a token in its last leeway would open what is over already", async () => {
  const h = harness();
  h.expireAt("token:1:1", h.clock.now() - 1);
  expect(await code(h.connect(at("token:1:1")))).toBe("subject_token_expired");
});

test("a job that ends while its session is recorded gets none", async () => {
  const h = harness();
  const opening = code(h.connect(at("token:1:1")));
  await Promise.resolve();
  await h.lifecycle.jobOver("gitlab", "1042", "1", "canceled");
  expect(await opening).toBe("job_over");
  expect([...h.table.all()].every(({ view }) => view.state === "ended")).toBe(true);
});

test("who watches the table is told of openings, facts, renewals and ends", async () => {
  const h = harness({
    renewable: true,
    facts: ["change.merged"],
    api: { jobStatus: async () => running, facts: async () => ({}) },
  });
  let told = 0;
  h.table.watch(() => told++);
  const { session } = await h.exchange("token:1:1", { jkt: "k" });
  expect(told).toBeGreaterThanOrEqual(2);
  const before = told;
  await h.exchange("token:1:2", { jkt: "k" });
  expect(told).toBe(before + 1);
  await h.facts.refresh(h.session(session.id));
  expect(told).toBe(before + 2);
  await h.lifecycle.end(h.session(session.id), "operator");
  expect(told).toBe(before + 3);
});
