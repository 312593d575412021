import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type EventsFlow, eventsFlow, whole, withoutDeploy } from "./events-flow.ts";
import { type EventsLab, eventually, startEventsLab } from "./events-lab.ts";

let lab: EventsLab;
let flow: EventsFlow;
beforeAll(async () => {
  lab = await startEventsLab(whole);
  flow = eventsFlow(lab);
  await lab.streams.add({ name: "STATUS", subjects: ["build.status.>"] });
  await lab.streams.add({ name: "IMAGES", subjects: ["image.pushed.*"] });
  await eventually("the consumers", async () => ((await lab.events()).problems.length === 0 ? true : undefined));
}, 120_000);
afterAll(async () => {
  vi.useRealTimers();
  await lab?.close();
});

describe("a CI that does not answer", () => {
  /** Requests to start a pipeline of the project, so far. */
  const asked = () => lab.gitlab.requests.filter(({ path }) => path.includes("/trigger/pipeline")).length;

  test("with 429 and Retry-After is asked again when it said so, and starts it once", async () => {
    const job = await flow.shopJob();
    const session = await job.session();
    const before = asked();
    lab.gitlab.setApiFault({ status: 429, retryAfterSeconds: 3 });
    await job.emit(flow.imageEvent("limited", { data: { tag: "limited" } }));
    await eventually("a request to start it", () => (asked() > before ? true : undefined));
    lab.gitlab.setApiFault(undefined);
    await flow.startedFor("limited");
    const times = lab.records.of("event.pending", session).map(({ time }) => Date.parse(time));
    expect(times).toHaveLength(2);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(2_900);
    expect(flow.deployedOf("limited")).toHaveLength(1);
  });

  test("whose answer is lost is looked up, and its job has the cause before anybody else asked", async () => {
    const job = await flow.shopJob();
    const session = await job.session();
    lab.gitlab.setApiFault({ status: "answer_lost" });
    await job.emit(flow.imageEvent("lost"));
    const pipeline = await flow.startedFor("lost");
    lab.gitlab.setApiFault(undefined);
    const work = await lab.runJob(pipeline.jobs[0]);
    const own = await work.session();
    expect(await flow.causeOf(own)).toMatchObject({ session, depth: 1 });
    const started = await lab.records.until("event.started", ({ data }) => data.pipeline_id === String(pipeline.id));
    expect(["exchange", "look_up"]).toContain(started.data.by);
    expect(flow.deployedOf("lost")).toHaveLength(1);
  });

  test("with what a person can mend leaves a dead letter, which a retry starts", async () => {
    const job = await flow.shopJob();
    await job.emit(flow.imageEvent("mended", { data: { tag: "mended", note: "1.4" } }));
    const session = await job.session();
    const dead = await lab.listed(
      (each) => each.event === "release-notes" && each.session === session && each.state !== "pending",
    );
    expect(dead).toMatchObject({ state: "dead", code: "ci_refused", uncertain: false });
    expect(dead.detail).toMatch(/Reference not found/);
    const unmended = await lab.operator("events", "retry", dead.key);
    expect(unmended).toMatchObject({ status: 3, out: expect.stringContaining("ci_refused") });
    lab.gitlab.pushCommit(lab.project["acme/notify"], "release");
    const mended = await lab.operator("events", "retry", dead.key, "--json");
    expect(mended).toMatchObject({ status: 0, err: "" });
    const [pipeline, other] = lab.triggered(lab.project["acme/notify"]);
    expect(other).toBeUndefined();
    expect(JSON.parse(mended.out)).toMatchObject({
      state: "started",
      pipeline: expect.stringContaining(`${pipeline?.id}`),
    });
    expect(lab.records.of("event.retried", session).map(({ data }) => data.by)).toEqual([
      "local operator",
      "local operator",
    ]);
    expect(await lab.operator("events", "retry", dead.key)).toMatchObject({ status: 4 });
    expect((await lab.events()).events.map(({ key }) => key)).not.toContain(dead.key);
  });
});

describe("a policy that is loaded again", () => {
  test("without an event starts nothing for it any more", async () => {
    lab.writePolicy(withoutDeploy);
    await lab.records.until("policy.loaded", () => true);
    const deployedBefore = flow.deployed().length;
    const job = await flow.shopJob();
    await job.emit(flow.imageEvent("removed", { data: { tag: "removed", note: "removed" } }));
    const notified = (note: string) =>
      eventually("the other event's pipeline", () =>
        lab
          .triggered(lab.project["acme/notify"])
          .find(({ variables }) => variables.some(({ key, value }) => key === "NOTE" && value === note)),
      );
    await notified("removed");
    const deploying = () => lab.consumers.info("IMAGES", "wayleave_deploy-image");
    await eventually("the end of the last fetch", async () =>
      (await deploying()).num_waiting === 0 ? true : undefined,
    );
    await job.emit(flow.imageEvent("removed since", { data: { tag: "removed since", note: "since" } }));
    await notified("since");
    expect((await deploying()).num_pending).toBe(1); // it was not even delivered
    expect(flow.deployed()).toHaveLength(deployedBefore);
    expect((await lab.events()).problems).toEqual([]);
  });
});

// At the end: they take the server away, and move the clock.
describe("while something is away", () => {
  test("a job hears within seconds that a server which hangs has not confirmed its message", async () => {
    const job = await flow.shopJob();
    await job.emit({ type: "before" });
    const asked = { type: "hung", key: "hung-and-again" };
    const { pid } = lab.world.server;
    const since = performance.now();
    process.kill(pid, "SIGSTOP");
    try {
      expect(await job.emit(asked)).toMatchObject({ status: 503, body: { code: "nats_unavailable" } });
    } finally {
      process.kill(pid, "SIGCONT");
    }
    // Sooner than the connection itself would be given up for dead.
    expect(performance.now() - since).toBeLessThan(9_000);
    expect((await job.emit(asked)).status).toBe(200);
    const subject = `build.status.${lab.project["acme/shop"].id}.hung`;
    const { state } = await lab.streams.info("STATUS", { subjects_filter: subject });
    expect(state.subjects).toEqual({ [subject]: 1 });
  });

  test("a job is told that its message was not taken, and repeats it as the same", async () => {
    lab.writePolicy(whole);
    const job = await flow.shopJob();
    await job.session();
    await lab.world.stopServer();
    const asked = { type: "repeated", key: "repeated-later" };
    expect(await job.emit(asked)).toMatchObject({ status: 503, body: { code: "nats_unavailable" } });
    await lab.world.restartServer();
    const repeated = await eventually("an answer", async () => {
      const answer = await job.emit(asked);
      return answer.status === 200 ? answer.body : undefined;
    });
    const subject = `build.status.${lab.project["acme/shop"].id}.repeated`;
    const { state } = await eventually("the stream", () =>
      lab.streams.info("STATUS", { subjects_filter: subject }).catch(() => undefined),
    );
    expect(state.subjects).toEqual({ [subject]: 1 });
    const stored = await lab.streams.getMessage("STATUS", { last_by_subj: subject });
    expect(stored?.json()).toMatchObject({ id: repeated.id });
    // Whoever follows events is back too.
    await job.emit(flow.imageEvent("back"));
    await flow.startedFor("back");
  });

  test("an event whose CI is away waits, and is started once when it is back", async () => {
    const job = await flow.shopJob();
    const session = await job.session();
    lab.gitlab.setReachable(false);
    await job.emit(flow.imageEvent("away"));
    await lab.records.until("event.pending", (each) => each.session === session);
    const waiting = await lab.listed((each) => each.session === session && each.event === "deploy-image");
    expect(waiting).toMatchObject({ state: "pending", attempts: 1, uncertain: true });
    // A request that nobody answered may still take effect within a minute; then it is asked anew.
    vi.setSystemTime(Date.now() + 90_000);
    lab.gitlab.setReachable(true);
    await flow.startedFor("away");
    await lab.records.until("event.started", (each) => each.session === session);
    expect(lab.records.of("event.pending", session).map(({ data }) => data.attempt)).toEqual([1, 2]);
    expect(flow.deployedOf("away")).toHaveLength(1);
  });
});
