import { describe, expect, test } from "vitest";
import type { CompiledEvent } from "../policy/policy.ts";
import {
  deployImage,
  FakeWorld,
  headerOf,
  identityHeader,
  jobIdentity,
  type MessageOptions,
  message,
  sessionId,
  startTime,
} from "./event-world.fake.ts";
import { originHeaders } from "./origin.ts";

const hold = async (): Promise<boolean> => true;
const key = `deploy-image/IMAGES/17/${startTime}`;

test("a message of an allowed job starts the pipeline with the mapped variables and the cause, and nothing else of it", async () => {
  const world = new FakeWorld();
  const json = { image: { name: "shop" }, tag: 7, debug: true, secret: "s3cret" };
  expect(await world.engine.handle("deploy-image", message({ json }), hold)).toEqual({ kind: "ack" });
  const [pipeline] = world.ci.made;
  expect(pipeline).toMatchObject({ project: "acme/deploy", ref: "main" });
  expect(pipeline?.variables).toEqual({ IMAGE: "shop", TAG: "7", WAYLEAVE_CAUSE: pipeline?.cause });
  expect(pipeline?.cause).toMatch(/^evt_[0-9a-hjkmnp-tv-z]{16}$/);
  expect(world.records).toMatchObject([
    {
      kind: "event.pending",
      session: sessionId,
      job: { project: "acme/shop", job_id: "7712" },
      data: {
        event: "deploy-image",
        stream: "IMAGES",
        sequence: 17,
        attempt: 1,
        depth: 1,
        variables: ["IMAGE", "TAG"],
      },
    },
    {
      kind: "event.started",
      session: sessionId,
      data: { issuer: "gitlab", project_id: "2000", pipeline_id: "5101", by: "answer" },
    },
  ]);
  expect(JSON.stringify(world.records)).not.toMatch(/s3cret|"shop"/);
});

test("a project that policy pins is asked for by its id", async () => {
  const world = new FakeWorld();
  world.rules = [deployImage({ startId: "2000" })];
  await world.engine.handle("deploy-image", message(), hold);
  expect(world.ci.made).toMatchObject([{ project: "acme/deploy", projectId: "2000" }]);
  expect(world.records[0]).toMatchObject({ data: { project: "acme/deploy", project_id: "2000" } });
});

describe("a message that may start nothing is refused, recorded, and delivered no more", () => {
  const forged = (job: readonly string[], id: readonly string[] = ["nc_0123456789abcdef.1"]) => ({
    headers: { [originHeaders.job]: job, [originHeaders.message]: id },
  });
  const another = "ses_aaaaaaaaaaaaaaaa";
  test.each<{ what: string; sent: MessageOptions; code: string }>([
    { what: "without identity headers", sent: { headers: {} }, code: "not_from_a_job" },
    { what: "without the message's number", sent: forged([identityHeader], []), code: "not_from_a_job" },
    { what: "with two identities", sent: forged([identityHeader, identityHeader]), code: "not_from_a_job" },
    {
      what: "with an identity in another spelling beside it",
      sent: {
        headers: {
          "Wayleave-Job": [identityHeader],
          "wayleave-job": [identityHeader],
          "Wayleave-Message": ["nc_0123456789abcdef.1"],
        },
      },
      code: "not_from_a_job",
    },
    {
      what: "with more behind the identity",
      sent: forged([`${identityHeader} x`]),
      code: "origin_mismatch",
    },
    {
      what: "with another session behind the identity",
      sent: forged([`${identityHeader} ${another}`]),
      code: "session_unknown",
    },
    {
      what: "with a session that is none",
      sent: forged([identityHeader.replace(sessionId, "ses_x")]),
      code: "not_from_a_job",
    },
    { what: "with a line break in it", sent: forged([`${identityHeader}\n`]), code: "not_from_a_job" },
    {
      what: "of a session that never was",
      sent: forged([identityHeader.replace(sessionId, another)]),
      code: "session_unknown",
    },
    {
      what: "of another project than the session's",
      sent: forged([identityHeader.replace("1042", "1043")]),
      code: "origin_mismatch",
    },
    {
      what: "of another issuer",
      sent: forged([identityHeader.replace("gitlab/", "gitlab-2/")]),
      code: "origin_mismatch",
    },
    {
      what: "of another job than the session's",
      sent: forged([identityHeader.replace("7712", "7713")]),
      code: "origin_mismatch",
    },
    { what: "from before the session", sent: { storedAt: startTime - 65_001 }, code: "outside_session" },
    { what: "from after its hard end", sent: { storedAt: startTime + 3_605_001 }, code: "outside_session" },
    { what: "on another subject than the event's", sent: { subject: "image.pushed.shop.x" }, code: "subject_mismatch" },
    { what: "without a variable", sent: { json: { tag: "1" } }, code: "variables_refused" },
    { what: "that is a day old", sent: { storedAt: startTime - 86_400_001 }, code: "too_old" },
  ])("$what: $code", async ({ sent, code }) => {
    const world = new FakeWorld();
    expect(await world.engine.handle("deploy-image", message(sent), hold)).toEqual({ kind: "term", reason: code });
    expect(world.ci.requests).toBe(0);
    expect(world.records).toMatchObject([{ kind: "event.refused", data: { event: "deploy-image", code } }]);
    expect(world.table.unsettled()).toMatchObject([{ state: "refused", code, open: false }]);
    // Delivered all the same: still no.
    expect(await world.engine.handle("deploy-image", message(sent), hold)).toEqual({ kind: "term", reason: code });
    expect(world.records).toHaveLength(1);
  });

  test("of a job the event is not for, with the reason and whose it was", async () => {
    const world = new FakeWorld();
    world.addSession({}, { project: { id: "1042", path: "acme/other" } });
    const sent = forged([identityHeader.replace("acme/shop", "acme/other")]);
    await world.engine.handle("deploy-image", message(sent), hold);
    expect(world.records).toMatchObject([
      {
        session: sessionId,
        job: { project: "acme/other" },
        data: {
          code: "not_allowed",
          detail: "Event deploy-image starts nothing for it: it is for project: acme/shop.",
        },
      },
    ]);
  });

  test("of a CI without a credential to start with", async () => {
    const world = new FakeWorld();
    world.hasCredential = false;
    await world.engine.handle("deploy-image", message(), hold);
    expect(world.table.unsettled()).toMatchObject([{ code: "cannot_start", session: sessionId }]);
  });

  test("that the CI refuses: a dead letter without doubt", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["refused"];
    expect(await world.engine.handle("deploy-image", message(), hold)).toEqual({ kind: "term", reason: "ci_refused" });
    expect(world.table.unsettled()).toMatchObject([
      { state: "dead", open: false, detail: "It refused the start (400: Reference not found)." },
    ]);
  });
});

describe("the session of a message", () => {
  test("may have ended since", async () => {
    const world = new FakeWorld();
    world.addSession({ state: "ended", endReason: "client_end", endedAt: startTime + 1000 });
    world.now += 3_600_000;
    expect(await world.engine.handle("deploy-image", message(), hold)).toEqual({ kind: "ack" });
  });

  test("must not have ended before", async () => {
    const world = new FakeWorld();
    world.addSession({ state: "ended", endReason: "client_end", endedAt: startTime - 5001 });
    expect(await world.engine.handle("deploy-image", message(), hold)).toMatchObject({ reason: "outside_session" });
  });

  test("that cannot be looked up now is asked for later, and nothing is refused meanwhile", async () => {
    const world = new FakeWorld();
    world.sessions.get = () => {
      throw new TypeError("the index is away");
    };
    expect(await world.engine.handle("deploy-image", message(), hold)).toEqual({ kind: "later", afterMs: 2000 });
    expect([world.records, world.faults.length]).toEqual([[], 1]);
  });
});

describe("a chain of events", () => {
  /** The pipeline that the message before started publishes the next message. */
  async function link(world: FakeWorld, sequence: number) {
    const last = world.ci.made.at(-1);
    if (last !== undefined) {
      const project = { id: "2000", path: "acme/deploy" };
      world.addSession({}, { project, pipelineId: last.id });
    }
    const headers = {
      [originHeaders.job]: [
        headerOf(world.sessions.get(sessionId)?.view ?? { id: sessionId, identity: jobIdentity() }),
      ],
      [originHeaders.message]: [`nc_0123456789abcdef.${sequence}`],
    };
    return world.engine.handle("deploy-image", message({ sequence, headers }), hold);
  }

  test("is cut at its depth, by the records and not by what a job says", async () => {
    const world = new FakeWorld();
    const verdicts = [await link(world, 1), await link(world, 2), await link(world, 3), await link(world, 4)];
    expect(verdicts).toEqual([
      { kind: "ack" },
      { kind: "ack" },
      { kind: "ack" },
      { kind: "term", reason: "depth_exceeded" },
    ]);
    const [first, second] = world.ci.made;
    expect(world.table.causeOf("gitlab", "2000", world.ci.made[2]?.id ?? "")).toMatchObject({
      depth: 3,
      chain: [second?.cause, first?.cause],
      project: "acme/deploy",
    });
  });

  test("counts from the session's own cause where the records have forgotten it", async () => {
    const world = new FakeWorld();
    const cause = { event: "deploy-image", session: sessionId, job: "gitlab/1", project: "acme/shop", depth: 3 };
    world.addSession({}, { cause });
    expect(await world.engine.handle("deploy-image", message(), hold)).toMatchObject({ reason: "depth_exceeded" });
  });
});

describe("policy that changes", () => {
  test("while a message waits: what it says after the wait counts", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["limited"];
    await world.engine.handle("deploy-image", message({ sequence: 1 }), hold);
    const verdict = await world.engine.handle("deploy-image", message({ sequence: 2 }), async (ms) => {
      world.now += ms;
      world.sessions.clear();
      return true;
    });
    expect(verdict).toEqual({ kind: "term", reason: "session_unknown" });
  });

  test("so that the event is gone: its messages wait", async () => {
    const world = new FakeWorld();
    world.rules = [];
    expect(await world.engine.handle("deploy-image", message(), hold)).toMatchObject({ kind: "later" });
    expect(world.records).toEqual([]);
  });
});

describe("a dead letter", () => {
  async function deadLetter(change: (world: FakeWorld) => void = () => undefined) {
    const world = new FakeWorld();
    world.ci.moods = ["refused"];
    change(world);
    await world.engine.handle("deploy-image", message(), hold);
    return world;
  }

  test("is started when a person retries it, and only once", async () => {
    const world = await deadLetter();
    expect(await world.engine.retry(key, "ada", message())).toMatchObject({
      state: "started",
      pipeline: { pipelineId: "5101" },
    });
    expect(await world.engine.retry(key, "ada", message())).toMatchObject({ state: "started" });
    expect([world.ci.requests, world.ci.made.length]).toEqual([2, 1]);
    expect(world.records[2]).toMatchObject({ kind: "event.retried", data: { by: "ada", event: "deploy-image" } });
  });

  test("that may have a pipeline is looked up first", async () => {
    const world = await deadLetter((each) => {
      each.ci.moods = ["answer_lost"];
      each.ci.findFinal = "403";
    });
    await world.engine.handle("deploy-image", message({ deliveries: 2 }), hold);
    expect(world.table.find(key)).toMatchObject({ state: "dead", open: true });
    world.ci.findFinal = undefined;
    world.restart();
    expect(await world.engine.retry(key, "ada", message())).toMatchObject({ state: "started" });
    expect(world.ci.requests).toBe(1);
  });

  test("that fails again is one again, with the latest reason", async () => {
    const world = await deadLetter();
    world.ci.moods = ["limited"];
    expect(await world.engine.retry(key, "ada", message())).toMatchObject({ state: "dead", code: "not_now" });
    expect(world.table.unsettled()).toHaveLength(1);
  });

  test("refused for its age may be wanted by a person; refused for its sender it is refused again", async () => {
    const old = new FakeWorld();
    old.now = startTime + 86_400_001;
    old.addSession();
    await old.engine.handle("deploy-image", message(), hold);
    expect(await old.engine.retry(key, "ada", message())).toMatchObject({ state: "started" });
    const foreign = new FakeWorld();
    await foreign.engine.handle("deploy-image", message({ headers: {} }), hold);
    expect(await foreign.engine.retry(key, "ada", message({ headers: {} }))).toMatchObject({ code: "not_from_a_job" });
  });

  test("is not retried with another message, nor for an event that is gone, nor for one nobody knows", async () => {
    const world = await deadLetter();
    const refusal = expect.objectContaining({ code: "not_found" });
    await expect(world.engine.retry(key, "ada", message({ storedAt: startTime + 1 }))).rejects.toEqual(refusal);
    await expect(world.engine.retry("x", "ada", message())).rejects.toEqual(refusal);
    world.rules = [];
    await expect(world.engine.retry(key, "ada", message())).rejects.toEqual(refusal);
    expect(world.ci.requests).toBe(1);
  });

  test("is made of a message that the stream gave up, once, and never of one that started", async () => {
    const world = new FakeWorld();
    await world.engine.exhausted("deploy-image", message());
    await world.engine.exhausted("deploy-image", message());
    expect(world.kinds()).toEqual(["event.dead"]);
    const started = new FakeWorld();
    await started.engine.handle("deploy-image", message(), hold);
    await started.engine.exhausted("deploy-image", { stream: "IMAGES", sequence: 17, storedAt: startTime });
    expect(started.table.find(key)).toMatchObject({ state: "started" });
  });
});

test("a thousand dead letters are kept for each event, and every one that may have a pipeline", async () => {
  const world = new FakeWorld();
  world.ci.moods = ["answer_lost"];
  world.ci.findFinal = "403";
  await world.engine.handle("deploy-image", message(), hold);
  await world.engine.handle("deploy-image", message({ deliveries: 2 }), hold);
  for (let sequence = 100; sequence < 1200; sequence++)
    await world.engine.handle("deploy-image", message({ sequence, headers: {} }), hold);
  const kept = world.table.unsettled();
  expect([kept.length, kept[0]?.key]).toEqual([1000, key]);
});

test("a consumer that has to be made anew begins at the oldest message that waits, else at the newest it knew", async () => {
  const world = new FakeWorld();
  const resume = () => world.table.resumeFrom("deploy-image");
  expect(resume()).toBeUndefined();
  await world.engine.handle("deploy-image", message({ sequence: 1, storedAt: startTime }), hold);
  await world.engine.handle("deploy-image", message({ sequence: 2, storedAt: startTime + 5 }), hold);
  expect(resume()).toBe(startTime + 5);
  world.ci.moods = ["answer_lost"];
  await world.engine.handle("deploy-image", message({ sequence: 3, storedAt: startTime + 7 }), hold);
  await world.engine.handle("deploy-image", message({ sequence: 4, storedAt: startTime + 9 }), hold);
  expect(resume()).toBe(startTime + 7);
});

const unrelated: CompiledEvent = deployImage({ name: "other" });
test("one message may start the pipelines of two events, each once", async () => {
  const world = new FakeWorld();
  world.rules = [deployImage(), unrelated];
  for (const event of ["deploy-image", "other", "deploy-image", "other"])
    expect(await world.engine.handle(event, message(), hold)).toEqual({ kind: "ack" });
  expect(new Set(world.ci.made.map(({ cause }) => cause)).size).toBe(2);
  expect(jobIdentity().project.path).toBe("acme/shop");
});
