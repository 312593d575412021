import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { execRequests, startWayleave } from "./job-process.ts";
import { type JobWorld, startJobWorld } from "./job-world.ts";
import type { Cut } from "./tcp-proxy.ts";

const read = "GET /v1/invoices/42";

let at: JobWorld;

// The published times (10 s, 29 s, 5 min), scaled: a command beats as often as the broker tells it.
beforeAll(async () => {
  at = await startJobWorld({ timings: { beatMs: 200, suspendAfterMs: 1200, endAfterMs: 6000 } });
});
afterAll(async () => {
  await at?.close();
});

/** A job in the middle of its command, and what a copy of its access token gets at the gateway. */
async function runningJob() {
  const { job, env } = await at.startJob();
  const command = startWayleave(env, ...execRequests(at.edge));
  const token = await command.ask("token");
  expect(await command.ask(read)).toBe("200");
  const { session } = await at.records.until("lease.held", (record) => record.job?.job_id === String(job.id));
  const ofIt = (record: { readonly session?: string }) => record.session === session;
  const copy = async () => {
    const { status, reason } = await at.world.client.call(
      "GET",
      `${at.world.edgeUrl("billing.localhost")}/v1/invoices/42`,
      token,
    );
    return [status, reason];
  };
  return { command, env, session, ofIt, copy };
}

/** How often the upstream served anything: a refused request must not be among it. */
const served = () => at.world.upstream.served.length;

describe("a runner killed with -9 in the middle of a command", () => {
  test("leaves a session that is suspended, refused meanwhile, and then ended", async () => {
    const { command, session, ofIt, copy } = await runningJob();
    expect(await copy()).toEqual([200, undefined]);
    const before = served();
    await command.killGroup();
    const suspended = await at.records.until("session.suspended", ofIt);
    expect([suspended.data.reason, await copy()]).toEqual(["lease_missed", [401, "session_suspended"]]);
    const ended = await at.records.until("session.ended", ofIt);
    expect([ended.data.reason, await copy()]).toEqual(["lease_lost", [401, "session_ended"]]);
    expect(served()).toBe(before);
    expect(at.records.of("lease.released", session)).toEqual([]);
  });
});

describe("a command killed with -9 while its job goes on", () => {
  test("takes nothing from the job's next command, which resumes the session", async () => {
    const { command, env, ofIt, copy } = await runningJob();
    await command.killGroup();
    await at.records.until("session.suspended", ofIt);
    const next = startWayleave(env, ...execRequests(at.edge));
    expect(await next.ask(read)).toBe("200");
    await at.records.until("session.resumed", ofIt);
    expect([(await next.finish()).status, await copy()]).toEqual([0, [200, undefined]]);
  });
});

describe("a command that survives a network cut", () => {
  test.each<{ how: Cut; what: string }>([
    { how: "silent", what: "keeps every packet" },
    { how: "refused", what: "breaks every connection" },
  ])("that $what: suspended, refused meanwhile, resumed, and its last call succeeds", async ({ how }) => {
    const { command, session, ofIt, copy } = await runningJob();
    at.proxy.cut(how);
    const suspended = await at.records.until("session.suspended", ofIt);
    expect([suspended.data.reason, await copy()]).toEqual(["lease_missed", [401, "session_suspended"]]);
    expect(await command.ask(read)).toBe("401");
    at.proxy.mend();
    const resumed = await at.records.until("session.resumed", ofIt);
    expect([resumed.data.reason, await copy()]).toEqual(["lease_missed", [200, undefined]]);
    expect(await command.ask(read)).toBe("200");
    const done = await command.finish();
    expect([done.status, at.records.of("session.ended", session)]).toEqual([0, []]);
    expect(at.records.of("session.opened", session)).toHaveLength(1);
    await at.records.until("lease.released", ofIt);
  });
});
