import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type CliCommand, Input } from "./command.ts";
import { emit } from "./emit.ts";
import { eventsList } from "./events-list.ts";
import { eventsRetry } from "./events-retry.ts";
import type { ListedEvent } from "./events-text.ts";
import { fakeIo } from "./job/command-io.fake.ts";

const dead: ListedEvent = {
  key: "deploy-image/IMAGES/17/1790000000000",
  event: "deploy-image",
  state: "dead",
  since: "2026-11-24T09:30:00.000Z",
  subject: "image.pushed.shop",
  code: "ci_refused",
  detail: "GitLab refused the start (400).",
  attempts: 1,
  uncertain: false,
  job: "acme/shop#7712",
};
const waiting: ListedEvent = { ...dead, key: "other/IMAGES/18/1", event: "other", state: "pending", uncertain: true };

/** Runs a command against a broker that answers everything with one body; gives what was asked and printed. */
async function run(command: CliCommand, args: readonly string[], body: unknown, options: object = {}) {
  const io = fakeIo();
  const data = join(io.cwd, "data");
  mkdirSync(data);
  writeFileSync(join(io.cwd, "wayleave.yaml"), `data: ${data}\n`);
  const asked: string[] = [];
  const server = createServer((request, response) => {
    request.on("data", (sent) => asked.push(String(sent)));
    asked.push(`${request.method} ${request.url}`);
    response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(join(data, "admin.sock"), resolve));
  onTestFinished(() => void server.close());
  const status = await command.run(io, new Input(args, { config: join(io.cwd, "wayleave.yaml"), ...options }));
  return { status, asked, out: io.out() };
}

describe("events list", () => {
  test("says what waits, why, and what to do", async () => {
    const { asked, out } = await run(eventsList, [], { events: [dead, waiting], problems: [] });
    expect(asked).toEqual(["GET /v1/events"]);
    expect(out).toBe(`deploy-image  dead since 2026-11-24T09:30:00
  subject    image.pushed.shop
  from       acme/shop#7712
  failed     ci_refused  GitLab refused the start (400).
  attempts   1
  next       wayleave events retry deploy-image/IMAGES/17/1790000000000

other  pending since 2026-11-24T09:30:00
  subject    image.pushed.shop
  from       acme/shop#7712
  failed     ci_refused  GitLab refused the start (400).
  attempts   1
  note       there may be a pipeline; a retry looks before it starts one
  next       wayleave events retry other/IMAGES/18/1
`);
  });

  test.each([
    { options: { dead: true }, shown: ["deploy-image"] },
    { options: { event: "other" }, shown: ["other"] },
    { options: { event: "nothing" }, shown: [] },
  ])("with %o", async ({ options, shown }) => {
    const { out } = await run(eventsList, [], { events: [dead, waiting], problems: [] }, { ...options, json: true });
    expect(JSON.parse(out).events.map(({ event }: ListedEvent) => event)).toEqual(shown);
  });

  test("says that nothing waits, and what keeps an event from being fetched", async () => {
    const problems = [{ event: "deploy-image", problem: "stream \u001b[31mnot found" }];
    expect((await run(eventsList, [], { events: [], problems: [] })).out).toBe("nothing waits\n");
    const { out } = await run(eventsList, [], { events: [], problems });
    expect(out).toContain("stopped    deploy-image: stream \ufffd[31mnot found\n");
  });
});

describe("events retry", () => {
  test("is 0 where the pipeline started", async () => {
    const started = { ...dead, state: "started", pipeline: "gitlab/2000/5101" };
    const { status, asked, out } = await run(eventsRetry, [dead.key], started);
    expect([status, asked]).toEqual([0, ["POST /v1/events/retry", JSON.stringify({ key: dead.key })]]);
    expect(out).toContain("pipeline   gitlab/2000/5101\n");
  });

  test("is 3 where it did not", async () => {
    expect((await run(eventsRetry, [dead.key], dead)).status).toBe(3);
  });
});

describe("emit refuses, before anybody is asked,", () => {
  test.each([
    { what: "data that is not JSON", data: "{tag:1}", code: "invalid_request" },
    { what: "a file that is not there", data: "@nope.json", code: "invalid_request" },
    { what: "too much data", data: `"${"x".repeat(256 * 1024)}"`, code: "payload_too_large" },
  ])("$what", async ({ data, code }) => {
    await expect(emit.run(fakeIo(), new Input(["a"], { data }))).rejects.toMatchObject({ code });
  });
});
