import { describe, expect, test } from "vitest";
import type { FactValue } from "../core/fact.ts";
import { harness, identity } from "./harness.fake.ts";

const names = ["runner.ephemeral"];
const claimFacts = () => ({ "runner.ephemeral": true, "environment.name": "never asked for" });
const running = { status: "running", running: true, over: false };
const api = (facts: () => Promise<Readonly<Record<string, FactValue>>>) => ({ jobStatus: async () => running, facts });

async function factsOf(h: ReturnType<typeof harness>) {
  const { session } = await h.exchange("token:1:1");
  return { facts: h.session(session.id).facts, session: h.session(session.id) };
}

describe("a fact that the token claims", () => {
  test("is known without an API, says that it is only claimed, and never gets stale", async () => {
    const { facts } = await factsOf(harness({ claimFacts, facts: names }));
    expect(facts).toEqual({
      "runner.ephemeral": expect.objectContaining({ value: true, claimed: true, staleAt: Number.MAX_SAFE_INTEGER }),
    });
  });

  test("gives way to what the API says of the same", async () => {
    const verified = api(async () => ({ "runner.ephemeral": false }));
    const { facts } = await factsOf(harness({ claimFacts, facts: names, api: verified }));
    expect(facts["runner.ephemeral"]).toMatchObject({ value: false });
    expect(facts["runner.ephemeral"]).not.toHaveProperty("claimed");
  });

  test.each([
    { what: "says nothing of it", facts: async () => ({}) },
    { what: "gives no answer", facts: () => Promise.reject(new Error("away")) },
  ])("stands where the API $what", async ({ facts: answer }) => {
    const { facts } = await factsOf(harness({ claimFacts, facts: names, api: api(answer) }));
    expect(facts["runner.ephemeral"]).toMatchObject({ value: true, claimed: true });
  });

  test("is not read where no rule asks", async () => {
    expect((await factsOf(harness({ claimFacts }))).facts).toEqual({});
  });

  test("is recorded anew when the API confirms it", async () => {
    let known: Readonly<Record<string, FactValue>> = {};
    const h = harness({ claimFacts, facts: names, api: api(async () => known) });
    const { session } = await factsOf(h);
    known = { "runner.ephemeral": true };
    await h.facts.refresh(session);
    expect(session.facts["runner.ephemeral"]).not.toHaveProperty("claimed");
    expect(h.recorder.records.at(-1)).toMatchObject({ kind: "facts.read" });
  });
});

describe("a job whose token names only its run", () => {
  const ofRun = identity("9001.1", { job: { id: "9001.1", ofRun: true } });

  test.each(["client_end", "operator", "hard_end", "lease_lost"] as const)(
    "%s says nothing of the run's other jobs",
    async (reason) => {
      const h = harness();
      for (const token of ["token:a:1", "token:b:2", "token:c:3"]) h.tokenFor(token, ofRun);
      const one = await h.exchange("token:a:1");
      const other = await h.exchange("token:b:2");
      await h.lifecycle.end(h.session(one.session.id), reason);
      expect(h.session(other.session.id).view.state).toBe("active");
      expect((await h.exchange("token:c:3")).session.state).toBe("active");
    },
  );

  test("is over with its run", async () => {
    const h = harness();
    for (const token of ["token:a:1", "token:b:2"]) h.tokenFor(token, ofRun);
    const one = await h.exchange("token:a:1");
    expect(await h.lifecycle.jobOver("gitlab", "1042", "9001.1", "completed")).toBe(1);
    expect(h.session(one.session.id).view.state).toBe("ended");
    await expect(h.exchange("token:b:2")).rejects.toMatchObject({ code: "job_over" });
  });

  test("while any other job's end is final", async () => {
    const h = harness();
    const one = await h.exchange("token:1:1");
    await h.lifecycle.end(h.session(one.session.id), "client_end");
    await expect(h.exchange("token:1:2")).rejects.toMatchObject({ code: "job_over" });
  });
});
