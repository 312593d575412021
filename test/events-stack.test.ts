import { jetstream } from "@nats-io/jetstream";
import { headers, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Pipeline } from "../demo/gitlab/types.ts";
import { type EventsFlow, eventsFlow, whole, withoutImages } from "./events-flow.ts";
import { type EventJob, type EventsLab, eventually, startEventsLab } from "./events-lab.ts";
import { wayleave } from "./job-process.ts";

let lab: EventsLab;
let flow: EventsFlow;
beforeAll(async () => {
  lab = await startEventsLab(withoutImages);
  flow = eventsFlow(lab);
  await lab.streams.add({ name: "STATUS", subjects: ["build.status.>"] });
}, 120_000);
afterAll(() => lab?.close());

/** What the client is told of a publish that policy denies. */
async function refusal(connection: NatsConnection, subject: string): Promise<string> {
  const told: string[] = [];
  void (async () => {
    for await (const status of connection.status()) if (status.type === "error") told.push(status.error.message);
  })();
  connection.publish(subject);
  await connection.flush();
  return eventually(`the refusal of ${subject}`, () => told[0]);
}

const header = (message: Msg, name: string) => message.headers?.get(name) ?? "";

describe("wayleave emit, in a job", () => {
  let job: EventJob;
  beforeAll(async () => {
    job = await flow.shopJob();
  });

  test("publishes a CloudEvent that says whose it is, and records it", async () => {
    const data = { "a b": [1, null, "ü"] };
    const { status, out, err } = await wayleave(job.env, "emit", "tests.passed", "--data", JSON.stringify(data));
    expect({ status, err }).toEqual({ status: 0, err: "" });
    const project = lab.project["acme/shop"].id;
    const subject = `build.status.${project}.tests.passed`;
    const [, id = ""] = /^ {2}id +(emt_[0-9a-z]{16})$/m.exec(out) ?? [];
    expect(out).toMatch(
      new RegExp(`^emitted {4}tests\\.passed {2}${subject} at events\\n {2}id +emt_\\w+\\n {2}record +rec_`),
    );
    const message = await lab.heard(subject);
    const record = await lab.records.until("emit.published", (each) => each.data.message === id);
    expect(out).toContain(record.id);
    expect(message.json()).toEqual({
      ...{ specversion: "1.0", id, type: "tests.passed", datacontenttype: "application/json", data },
      source: `spiffe://acme.example/ci/gitlab/${project}`,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      subject: `pipelines/${job.job.pipeline.id}/jobs/${job.job.id}`,
    });
    expect(header(message, "Wayleave-Job")).toBe(`gitlab/${project}/${job.job.id} acme/shop ${record.session}`);
    expect(header(message, "Wayleave-Message")).toBe(id);
    expect(header(message, "Nats-Msg-Id")).toBe(id);
    expect(record).toMatchObject({
      job: { project: "acme/shop", job_id: String(job.job.id) },
      data: {
        target: "events",
        account: "CI",
        subject,
        type: "tests.passed",
        rule: "tell",
        bytes: message.data.length,
      },
    });
  });

  test.each<{ what: string; args: readonly string[]; status: number; says: RegExp }>([
    {
      what: "a subject policy does not give it",
      args: ["done", "--subject", "deploy.done.shop"],
      status: 3,
      says: /refused {2}access_denied\n +why +Policy does not let this job publish deploy\.done\.shop at events/,
    },
    {
      what: "another project's subject",
      args: ["done", "--subject", "build.status.1.done"],
      status: 3,
      says: /access_denied/,
    },
    { what: "data that is no JSON", args: ["done", "--data", "{no"], status: 2, says: /--data is not JSON/ },
    { what: "a wildcard", args: ["done", "--subject", "image.pushed.*"], status: 2, says: /no wildcards/ },
    { what: "a server's own subject", args: ["done", "--subject", "$JS.API.INFO"], status: 2, says: /invalid_request/ },
    {
      what: "a target none of its roles names",
      args: ["done", "--target", "other"],
      status: 3,
      says: /invalid_target/,
    },
  ])("is refused $what, with exit status $status", async ({ args, status, says }) => {
    const done = await wayleave(job.env, "emit", ...args);
    expect(done).toMatchObject({ status, out: "" });
    expect(done.err).toMatch(says);
  });

  test("prints JSON, and records what it refuses like a gateway does", async () => {
    const subject = `build.status.${lab.project["acme/shop"].id}.json`;
    const [told, denied] = await Promise.all([
      wayleave(job.env, "emit", "json", "--json"),
      wayleave(job.env, "emit", "json", "--subject", "deploy.json", "--json"),
    ]);
    expect(told.status).toBe(0);
    expect(JSON.parse(told.out)).toEqual({
      ...{ id: expect.stringMatching(/^emt_/), target: "events", subject },
      record: expect.stringMatching(/^rec_/),
    });
    expect(denied.status).toBe(3);
    expect(JSON.parse(denied.out)).toMatchObject({ code: "access_denied", status: 403 });
    const record = await lab.records.until("decision", (each) => each.data.operation === "pub deploy.json");
    expect(record.data).toMatchObject({ gateway: "broker", target: "events", effect: "deny", outcome: "deny" });
    expect(JSON.parse(denied.out).detail).toContain(record.id);
  });

  test("outside a session is nothing: no token, a foreign one, an ended session", async () => {
    const ended = await flow.shopJob();
    expect((await ended.emit({ type: "alive" })).status).toBe(200);
    lab.gitlab.succeedJob(ended.job);
    await lab.gitlab.flush();
    expect(await ended.emit({ type: "late" })).toMatchObject({ status: 400, body: { code: "session_ended" } });
    const answer = await fetch(`${lab.world.brokerUrl}/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer nothing" },
      body: JSON.stringify({ type: "forged" }),
    });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
  });

  test("repeated with its key is one event, and the key is the session's own", async () => {
    const [one, other] = [await flow.shopJob(), await flow.shopJob()];
    const asked = { type: "keyed", key: "one-and-the-same" };
    const ids: unknown[] = [];
    for (const each of [one, one, other]) ids.push((await each.emit(asked)).body.id);
    expect(ids[1]).toBe(ids[0]);
    expect(ids[2]).not.toBe(ids[0]);
    const filter = `build.status.${lab.project["acme/shop"].id}.keyed`;
    const { state } = await lab.streams.info("STATUS", { subjects_filter: filter });
    expect(state.subjects).toEqual({ [filter]: 2 });
  });
});

describe("a pipeline that knows nothing of Wayleave", () => {
  test("is told of by its webhook, with nobody's identity, and starts nothing", async () => {
    const { gitlab, people } = lab;
    const legacy = lab.project["acme/legacy"];
    const pipeline = gitlab.startPipeline(legacy, { user: people.dana, jobs: ["build"] });
    const [job] = pipeline.jobs;
    if (job === undefined) throw new TypeError("the pipeline has a job");
    gitlab.runJob(job);
    gitlab.succeedJob(job);
    await gitlab.flush();
    const subject = (status: string) => `build.status.${legacy.id}.${pipeline.id}.${status}`;
    for (const status of ["created", "pending", "running", "success"]) await lab.heard(subject(status));
    const message = await lab.heard(subject("success"));
    expect(message.json()).toMatchObject({
      ...{ specversion: "1.0", type: "job.success", source: `/ci/gitlab/${legacy.id}` },
      data: { project: "acme/legacy", pipeline_id: String(pipeline.id), job_name: "build", ref: "main" },
    });
    expect(message.headers?.keys().map((name) => name.toLowerCase())).not.toContain("wayleave-job");
    const record = await lab.records.until("emit.published", (each) => each.data.subject === subject("success"));
    expect(record.session).toBeUndefined();
    expect(record.data.webhook).toBe("gitlab");
    await lab.listed(
      ({ event, subject: on, code }) => event === "on-status" && on === subject("success") && code === "not_from_a_job",
    );
    expect(lab.triggered(lab.project["acme/notify"])).toEqual([]);

    const before = (await lab.streams.info("STATUS")).state.messages;
    for (const delivery of gitlab.deliveries.filter(({ body }) => body.includes(`"pipeline_id":${pipeline.id}`)))
      await gitlab.redeliver(delivery);
    await sentinel();
    expect((await lab.streams.info("STATUS")).state.messages).toBe(before + 1);
  });

  /** One message that is not of the webhook: whatever was sent before it is in the stream. */
  async function sentinel(): Promise<void> {
    const job = await flow.shopJob();
    expect((await job.emit({ type: "sentinel" })).status).toBe(200);
    await lab.heard(`build.status.${lab.project["acme/shop"].id}.sentinel`);
  }
});

describe("a message that starts a pipeline", () => {
  let first: Pipeline;

  test("of an event that a reload of the policy adds, on a stream that is made later still", async () => {
    lab.writePolicy(whole);
    const away = await eventually("a problem", async () =>
      (await lab.events()).problems.find(({ event }) => event === "deploy-image"),
    );
    expect(away.problem).toMatch(/stream not found/);
    expect((await lab.operator("events", "list")).out).toMatch(/^stopped +deploy-image: stream not found$/m);
    await lab.streams.add({ name: "IMAGES", subjects: ["image.pushed.*"] });
    const job = await flow.shopJob();
    const { status, out, err } = await wayleave(
      job.env,
      ...["emit", "image.pushed", "--subject", flow.image(), "--data", '{"tag":"1.0"}'],
    );
    expect({ status, err }).toEqual({ status: 0, err: "" });
    first = await flow.startedFor("1.0");
    const started = await lab.records.until("event.started", ({ data }) => data.pipeline_id === String(first.id));
    expect(started).toMatchObject({ job: { job_id: String(job.job.id) }, data: { by: "answer" } });
    const [pending] = lab.records.of("event.pending", started.session);
    expect(pending?.data).toMatchObject({ event: "deploy-image", attempt: 1, depth: 1, variables: ["TAG"] });
    expect(first.variables).toContainEqual(
      expect.objectContaining({ key: "WAYLEAVE_CAUSE", value: pending?.data.cause }),
    );
    expect(out).not.toContain(pending?.data.cause);
  });

  test("starts one, however often the job says it", async () => {
    const job = await flow.shopJob();
    for (let count = 0; count < 3; count++) await job.emit(flow.imageEvent("1.1", { key: "once-and-again" }));
    await flow.startedFor("1.1");
    await job.emit(flow.imageEvent("1.2"));
    await flow.startedFor("1.2");
    for (const tag of ["1.0", "1.1", "1.2"]) expect(flow.deployedOf(tag)).toHaveLength(1);
    expect(flow.deployed()).toHaveLength(3);
  });

  test("gives its job a cause, and with it only the roles that say caused_by", async () => {
    const job = await lab.runJob(first.jobs[0]);
    const connection = await job.connect();
    connection.publish("deploy.done.shop");
    await connection.flush();
    await lab.heard("deploy.done.shop");
    expect(await refusal(connection, "deploy.plan.shop")).toMatch(/deploy\.plan\.shop/);
    await connection.close();
    const opened = await lab.records.until("session.opened", (each) => each.job?.job_id === String(job.job.id));
    const pending = lab.records.of("event.pending").find(({ data }) => data.event === "deploy-image");
    expect(opened.data.roles).toEqual(["deployed"]);
    expect(opened.data.identity.cause).toEqual({
      ...{ event: "deploy-image", project: "acme/shop", depth: 1, session: pending?.session },
      job: `gitlab/${pending?.job?.job_id}`,
    });
  });

  test.each<{ what: string; source: "web" | "trigger"; copied: boolean }>([
    { what: "a pipeline that a person started", source: "web", copied: false },
    { what: "a trigger of a person's own that copies WAYLEAVE_CAUSE", source: "trigger", copied: true },
  ])("gives nothing to $what", async ({ source, copied }) => {
    const variables = copied ? first.variables : [];
    const job = await lab.startJob(lab.project["acme/deploy"], { source, variables, ref: "main" });
    const connection = await job.connect();
    expect(await refusal(connection, "deploy.done.forged")).toMatch(/deploy\.done\.forged/);
    connection.publish("deploy.plan.own");
    await connection.flush();
    await connection.close();
    const opened = await lab.records.until("session.opened", (each) => each.job?.job_id === String(job.job.id));
    expect(opened.data.roles).toEqual(["plan"]);
    expect(opened.data.identity.cause).toBeUndefined();
  });

  test("whose job says the next one makes a chain, which is cut at its depth", async () => {
    const job = await flow.shopJob();
    await job.emit(flow.imageEvent("loop"));
    const next = (tag: string) => flow.imageEvent(tag, { subject: `image.pushed.${lab.project["acme/deploy"].id}` });
    const second = await lab.runJob((await flow.startedFor("loop")).jobs[0]);
    expect((await second.emit(next("loop 2"))).status).toBe(200);
    const third = await lab.runJob((await flow.startedFor("loop 2")).jobs[0]);
    const session = await third.session();
    expect(await flow.causeOf(session)).toMatchObject({
      ...{ depth: 2, project: "acme/deploy", session: await second.session() },
    });
    expect((await third.emit(next("loop 3"))).status).toBe(200);
    const cut = await lab.listed((each) => each.session === session && each.event === "deploy-image");
    expect(cut).toMatchObject({ state: "refused", code: "depth_exceeded", job: `acme/deploy#${third.job.id}` });
    expect(flow.deployedOf("loop 3")).toEqual([]);
  });

  test("past the gateway, by an administrator, starts nothing and is a dead letter", async () => {
    const job = await flow.shopJob();
    await job.emit({ type: "own" });
    const real = await lab.heard(`build.status.${lab.project["acme/shop"].id}.own`);
    const forged = headers();
    forged.set("Wayleave-Job", header(real, "Wayleave-Job").replace("acme/shop", "acme/deploy"));
    forged.set("Wayleave-Message", header(real, "Wayleave-Message"));
    const payload = JSON.stringify({ data: { tag: "forged", note: "forged" } });
    const js = jetstream(lab.admin);
    const bare = await js.publish(flow.image(), payload);
    const other = await js.publish(flow.image(), payload, { headers: forged });
    const of = (sequence: number) =>
      lab.listed((each) => each.event === "deploy-image" && each.sequence === sequence && each.state === "refused");
    expect(await of(bare.seq)).toMatchObject({ code: "not_from_a_job", attempts: 0 });
    expect(await of(other.seq)).toMatchObject({ code: "origin_mismatch", job: `acme/shop#${job.job.id}` });
    const { key } = await of(bare.seq);
    const list = await lab.operator("events", "list", "--dead", "--event", "deploy-image");
    expect(list).toMatchObject({ status: 0, err: "" });
    expect(list.out).toContain(`wayleave events retry ${key}`);
    expect(list.out).toContain("not_from_a_job");
    expect(await lab.operator("events", "retry", key)).toMatchObject({ status: 3 });
    expect(flow.deployedOf("forged")).toEqual([]);
  });
});
