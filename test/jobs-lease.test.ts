import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { execRequests, startWayleave } from "./job-process.ts";
import { type JobWorld, startJobWorld } from "./job-world.ts";

const read = "GET /v1/invoices/42";

let at: JobWorld;

// The published times (10 s, 29 s, 5 min), scaled: the command beats as often as the broker tells it.
beforeAll(async () => {
  at = await startJobWorld({ timings: { beatMs: 200, suspendAfterMs: 900, endAfterMs: 6000 } });
});
afterAll(async () => {
  await at?.close();
});

/** A job in the middle of its command, with a copy of its access token. */
async function runningJob() {
  const job = await at.startJob();
  const command = startWayleave(job.env, ...execRequests(at.edge, "--env"), "token");
  const url = `${at.world.edgeUrl("billing.localhost")}/v1/invoices/42`;
  expect(await command.ask(read)).toBe("200");
  const held = await at.records.until("lease.held", (record) => record.job?.job_id === String(job.job.id));
  const { session } = held;
  const of = (record: { readonly session?: string }) => record.session === session;
  return { ...job, command, session, of, url };
}

describe("a runner that is killed with -9 in the middle of a command", () => {
  test("leaves a session that is suspended, and then ends", async () => {
    const { command, of, url, session } = await runningJob();
    void url;
    await command.killGroup();
    await at.records.until("session.suspended", of);
    const ended = await at.records.until("session.ended", of);
    expect([ended.data.reason, at.records.of("lease.released", session)]).toEqual(["lease_lost", []]);
  });
});
