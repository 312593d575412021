import { describe, expect, test } from "vitest";
import type { NatsOperation } from "../core/target.ts";
import { createLimits } from "../gateway/limits.ts";
import { besidePolicy } from "../policy/beside.ts";
import { natsPolicy, natsWorld, shopNats } from "./nats-world.fake.ts";

const build = "build.status.1042.x";
const op = (verb: NatsOperation["verb"], subject: string): NatsOperation => ({ kind: "nats", verb, subject });

/** A gateway whose broker tries a policy without `status`, or with another verb for it. */
async function world(candidate: string, projects: readonly string[] = []) {
  const w = natsWorld();
  const { secret } = await w.password("7712", "events");
  const admission = await w.authority.admit(w.of({ secret }));
  const active = w.world.policy;
  w.world.policy = besidePolicy({
    active,
    candidate: natsPolicy(candidate),
    canary: { projects, share: 0 },
    shadow: createLimits(w.clock),
    onFault(error) {
      throw error;
    },
  });
  const noted = () => w.recorder.records.flatMap((record) => (record.kind === "policy.disagreed" ? [record.data] : []));
  return { w, admission, noted };
}

const without = shopNats.replace('"pub build.status.${job.project_id}.*"', '"pub nothing.here"');
const asRequest = shopNats.replace('"pub build.status.${job.project_id}.*"', '"req build.status.${job.project_id}.*"');

describe("what NATS carries although the candidate would not", () => {
  test("is let through, and recorded once and then counted", async () => {
    const { w, admission, noted } = await world(without);
    for (let at = 0; at < 5; at++) expect(w.authority.decide(admission, op("pub", build)).effect).toBe("allow");
    expect(noted()).toMatchObject([
      {
        operation: `pub ${build}`,
        outcome: "allow",
        rule: "status",
        count: 1,
        beside: { outcome: "deny", reason: "no_role" },
      },
    ]);
    w.authority.policyChanged();
    expect(noted()).toHaveLength(1);
    w.clock.advance(10_000);
    w.authority.policyChanged();
    expect(noted().map(({ count }) => count)).toEqual([1, 4]);
    w.authority.decide(admission, op("pub", build));
    w.authority.decide(admission, op("pub", build));
    w.authority.close();
    expect(noted().map(({ count }) => count)).toEqual([1, 4, 1, 1]);
  });

  test("is no disagreement where both agree, nor where a request may go as a message", async () => {
    const { w, admission, noted } = await world(asRequest);
    expect(w.authority.decide(admission, op("sub", "deploy.events.x")).effect).toBe("allow");
    expect(w.authority.decide(admission, op("pub", "secret.x")).effect).toBe("deny");
    expect(noted()).toEqual([]);
    // The active policy lets it go as a message, the candidate as a request.
    expect(w.authority.decide(admission, op("pub", build)).effect).toBe("allow");
    expect(noted()).toEqual([]);
  });

  test("is refused to a canary, whose denial says what the other policy says", async () => {
    const { w, admission, noted } = await world(without, ["acme/shop"]);
    const decision = w.authority.decide(admission, op("pub", build));
    expect(decision).toMatchObject({ effect: "deny", canary: true, beside: { outcome: "allow", rule: "status" } });
    expect(noted()).toEqual([]);
  });

  test("keeps going where nothing can be recorded", async () => {
    const { w, admission } = await world(without);
    w.recorder.fail = true;
    expect(w.authority.decide(admission, op("pub", build)).effect).toBe("allow");
  });
});
