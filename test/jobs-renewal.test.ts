import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { execRequests, startWayleave } from "./job-process.ts";
import { type JobWorld, startJobWorld } from "./job-world.ts";

const read = "GET /v1/invoices/42";
const tokenTtlMs = 2000;

let at: JobWorld;

beforeAll(async () => {
  at = await startJobWorld({ timings: { tokenTtlMs } });
});
afterAll(async () => {
  await at?.close();
});

describe("a job of three token lifetimes", () => {
  test("whose command knows nothing of tokens: its last call succeeds, with another token than the first", async () => {
    const { job, env } = await at.startJob();
    const command = startWayleave(env, ...execRequests(at.edge));
    const first = await command.ask("token");
    expect(await command.ask(read)).toBe("200");
    const opened = await at.records.until("session.opened", (record) => record.job?.job_id === String(job.id));
    const over = Date.parse(opened.time) + 3 * tokenTtlMs;
    await at.records.until(
      "credential.minted",
      (record) => record.session === opened.session && Date.parse(record.time) >= over,
    );
    expect(await command.ask(read)).toBe("200");
    expect(await command.ask("token")).not.toBe(first);
    const url = `${at.world.edgeUrl("billing.localhost")}/v1/invoices/42`;
    const old = await at.world.client.call("GET", url, first);
    expect([old.status, old.reason]).toEqual([401, "credential_expired"]);
    expect((await command.finish()).status).toBe(0);
    expect(at.records.of("session.opened")).toHaveLength(1);
    const minted = at.records.of("credential.minted", opened.session).map((record) => record.data.expires_at);
    for (const expiresAt of minted) expect(expiresAt).toBeLessThanOrEqual(opened.data.hard_end_at);
    expect(minted.length).toBeGreaterThanOrEqual(3);
  });
});
