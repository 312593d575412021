import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { harness } from "./harness.fake.ts";

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "accepted",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );

describe("what a session is minted", () => {
  test("is bearer for what needs no key, and names what does", async () => {
    const h = harness();
    h.setPolicy({ rolesFor: () => [{ id: "read", targets: ["billing", "vaulted"] }] });
    const { bound, targets, proofTargets } = await h.exchange("token:1:1", { jkt: "A" });
    expect([bound, targets, proofTargets]).toEqual([false, ["billing"], ["vaulted"]]);
  });

  test("is bound to the session's key where all that it is for wants that, also on a refresh", async () => {
    const h = harness();
    h.setPolicy({ rolesFor: () => [{ id: "read", targets: ["billing", "vaulted"] }] });
    const narrowing = { targets: ["vaulted"] };
    const { bound, refreshToken } = await h.exchange("token:1:1", { jkt: "A", narrowing });
    expect(bound).toBe(true);
    expect(await h.refresh({ refreshToken, narrowing, jkt: "A" })).toMatchObject({ bound: true, targets: ["vaulted"] });
    const minted = h.recorder.records.filter(({ kind }) => kind === "credential.minted");
    expect(minted.map(({ data }) => (data as { jkt?: string }).jkt)).toEqual(["A", "A"]);
  });

  test("is nothing for a target that wants a key where the session has none, and its token stays unused", async () => {
    const h = harness();
    h.setPolicy({ rolesFor: () => [{ id: "read", targets: ["vaulted"] }] });
    expect(await code(h.exchange("token:1:1"))).toBe("proof_required");
    expect((await h.exchange("token:1:1", { jkt: "A" })).bound).toBe(true);
  });

  test("is capped for each project, which costs the job nothing but time", async () => {
    const h = harness({ caps: { sessionsPerMinute: 1 } });
    await h.exchange("token:1:1");
    expect(await code(h.exchange("token:2:1"))).toBe("issuance_capped");
    h.clock.advance(60_000);
    expect(await code(h.exchange("token:2:1"))).toBe("accepted");
  });

  test("is capped in tokens too, renewals included", async () => {
    const h = harness({ caps: { tokensPerMinute: 2 } });
    const { refreshToken } = await h.exchange("token:1:1", { jkt: "A" });
    const refresh = () => code(h.refresh({ refreshToken, narrowing: {}, jkt: "A" }));
    expect([await refresh(), await refresh()]).toEqual(["accepted", "issuance_capped"]);
  });
});
