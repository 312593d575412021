import { expect, test } from "vitest";
import { createCauseResolver } from "./cause-resolver.ts";
import { FakeWorld, jobIdentity, message, sessionId } from "./event-world.fake.ts";

const hold = async (): Promise<boolean> => true;
const deployJob = (pipelineId: string, attributes: Readonly<Record<string, string>> = { source: "trigger" }) =>
  jobIdentity({ project: { id: "2000", path: "acme/deploy" }, pipelineId, attributes });
const cause = {
  event: "deploy-image",
  session: sessionId,
  job: "gitlab/7712",
  project: "acme/shop",
  depth: 1,
};

async function lostAnswer() {
  const world = new FakeWorld();
  world.ci.moods = ["answer_lost"];
  await world.engine.handle("deploy-image", message(), hold);
  return { world, causeFor: createCauseResolver(world.deps, world.table) };
}

test("a started pipeline's job has its cause by the records alone; nobody is asked", async () => {
  const world = new FakeWorld();
  await world.engine.handle("deploy-image", message(), hold);
  world.ci.blind = true;
  const causeFor = createCauseResolver(world.deps, world.table);
  expect(await causeFor(deployJob("5101"))).toEqual(cause);
  expect(await causeFor(deployJob("5102"))).toBeUndefined();
  expect(await causeFor(jobIdentity({ pipelineId: "5101" }))).toBeUndefined();
});

test("while an answer is missing, the pipeline itself is asked, and what it says is recorded before the job is told", async () => {
  const { world, causeFor } = await lostAnswer();
  expect(await causeFor(deployJob("5101"))).toEqual(cause);
  expect(world.records.at(-1)).toMatchObject({ kind: "event.started", data: { pipeline_id: "5101", by: "exchange" } });
  // The engine then finds it started.
  expect(await world.engine.handle("deploy-image", message({ deliveries: 2 }), hold)).toEqual({ kind: "ack" });
  expect(world.ci.requests).toBe(1);
});

test("a pipeline that somebody else started meanwhile has no cause", async () => {
  const { causeFor } = await lostAnswer();
  expect(await causeFor(deployJob("9999"))).toBeUndefined();
});

test("where the pipeline cannot be asked, the job has to come again: it would have more rights without its cause", async () => {
  const { world, causeFor } = await lostAnswer();
  world.ci.blind = true;
  await expect(causeFor(deployJob("5101"))).rejects.toMatchObject({ code: "ci_api_unreachable" });
  world.hasCredential = false;
  await expect(causeFor(deployJob("5101"))).rejects.toMatchObject({ code: "ci_api_unreachable" });
});

test.each([
  { what: "a pipeline that was pushed", job: deployJob("5101", { source: "push" }) },
  { what: "another project", job: jobIdentity({ attributes: { source: "trigger" } }) },
  { what: "another ref", job: { ...deployJob("5101"), ref: "other" } },
  { what: "another issuer", job: { ...deployJob("5101"), issuer: "gitlab-2" } },
])("$what cannot be it, and waits for nothing", async ({ job }) => {
  const { world, causeFor } = await lostAnswer();
  world.ci.blind = true;
  expect(await causeFor(job)).toBeUndefined();
});

test("a job that does not say how its pipeline was started may be it", async () => {
  const { causeFor } = await lostAnswer();
  expect(await causeFor(deployJob("5101", {}))).toEqual(cause);
});

test("a copy of the cause in a younger pipeline is not believed once the true one is known", async () => {
  const { world, causeFor } = await lostAnswer();
  const [first] = world.ci.made;
  if (first !== undefined) world.ci.made.push({ ...first, id: "6000" });
  await world.engine.handle("deploy-image", message({ deliveries: 2 }), hold);
  expect(await causeFor(deployJob("5101"))).toEqual(cause);
  expect(await causeFor(deployJob("6000"))).toBeUndefined();
});

test("nor where the copy comes first: the oldest that carries the secret is the true one", async () => {
  const { world, causeFor } = await lostAnswer();
  const [first] = world.ci.made;
  if (first !== undefined) world.ci.made.push({ ...first, id: "6000" });
  expect(await causeFor(deployJob("6000"))).toBeUndefined();
  expect(await causeFor(deployJob("5101"))).toEqual(cause);
});

test("nor where the true one became known while the CI was asked", async () => {
  const { world, causeFor } = await lostAnswer();
  const find = world.ci.find.bind(world.ci);
  let asked = 0;
  world.ci.find = async (wanted) => {
    const found = await find(wanted);
    if (asked++ === 0) await world.engine.handle("deploy-image", message({ deliveries: 2 }), hold);
    return found;
  };
  expect(await causeFor(deployJob("6000"))).toBeUndefined();
  expect(world.records.filter(({ kind }) => kind === "event.started")).toHaveLength(1);
});

test("a journal that cannot be written gives no cause, and no session without one", async () => {
  const { world, causeFor } = await lostAnswer();
  world.failAppends = 1;
  await expect(causeFor(deployJob("5101"))).rejects.toMatchObject({ code: "journal_unavailable" });
});

test("the cause is there after a restart", async () => {
  const { world, causeFor } = await lostAnswer();
  await causeFor(deployJob("5101"));
  world.restart();
  expect(await createCauseResolver(world.deps, world.table)(deployJob("5101"))).toEqual(cause);
});
