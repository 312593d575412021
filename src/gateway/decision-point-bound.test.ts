import { describe, expect, test, vi } from "vitest";
import { good, point, question } from "./decision-point.fake.ts";
import type { DecisionPointDeps, Question, TokenVerdict } from "./decision-point.ts";

const bound: TokenVerdict = { state: "valid", token: { jti: "j", sessionId: "ses_a", narrowing: {}, jkt: "key-1" } };
const dpop = { ...question, authorization: "DPoP good", proof: "a.b.c" };
const proven: DecisionPointDeps["prove"] = async () => undefined;

describe("a token bound to a key", () => {
  test("with a proof by that key is as good as any, and its answer is never kept", async () => {
    const prove = vi.fn(proven);
    const { answer, noted } = asked({ verdict: bound, prove }, dpop);
    expect(await answer).toMatchObject({
      outcome: "allow",
      cacheSeconds: 0,
      consumesAuthorization: true,
      session: "ses_a",
    });
    expect(prove).toHaveBeenCalledWith(dpop, "good", "key-1", 1000);
    expect(noted).toMatchObject([{ data: { effect: "allow" } }]);
  });

  test.each([
    { why: "sent as Bearer", more: { authorization: "Bearer good" }, reason: "bound_as_bearer" },
    { why: "sent as bearer in small letters", more: { authorization: "bearer good" }, reason: "bound_as_bearer" },
    { why: "whose proof is for something else", problem: "proof_invalid", reason: "proof_invalid" },
    { why: "whose proof was used before", problem: "proof_replayed", reason: "proof_replayed" },
  ] as const)("$why is refused, with its fingerprint in the record", async (row) => {
    const prove = async () => ("problem" in row ? row.problem : undefined);
    const { answer, noted } = asked({ verdict: bound, prove }, { ...dpop, ...("more" in row ? row.more : {}) });
    expect(await answer).toMatchObject({ outcome: "deny", reason: row.reason, unauthenticated: true, cacheSeconds: 0 });
    expect(noted).toMatchObject([{ kind: "decision", session: "ses_a", data: { reason: row.reason, token: "fp_x" } }]);
  });

  test("is refused where the target asks for no proof just the same", async () => {
    const { answer } = asked({ verdict: bound, target: { proof: "off" } }, question);
    expect(await answer).toMatchObject({ outcome: "deny", reason: "bound_as_bearer" });
  });

  test("is kept by no gateway for an outage: each proof is good once", async () => {
    const keepMs = () => 60_000;
    const expiresAt = 1_000_000;
    const kept = (verdict: TokenVerdict, put: Question) => asked({ verdict, prove: proven, keepMs }, put).answer;
    const withTime = ({ token }: typeof bound & { token: object }) =>
      ({ state: "valid", token: { ...token, expiresAt } }) as TokenVerdict;
    expect(await kept(withTime(good as never), question)).toHaveProperty("keepUntil");
    expect(await kept(withTime(bound as never), dpop)).not.toHaveProperty("keepUntil");
  });

  test("that is over is over, whatever proof it comes with", async () => {
    const prove = vi.fn(proven);
    const { answer } = asked({ verdict: { ...bound, state: "expired" } as TokenVerdict, prove }, dpop);
    expect(await answer).toMatchObject({ outcome: "deny", reason: "credential_expired" });
    expect(prove).not.toHaveBeenCalled();
  });

  test("that was revoked is refused with a good proof", async () => {
    const { answer } = asked({ verdict: bound, prove: proven, revoked: () => true }, dpop);
    expect(await answer).toMatchObject({ outcome: "deny", reason: "credential_revoked" });
  });

  test("is refused as an outage where its proof cannot be judged", async () => {
    const prove = async () => Promise.reject(new TypeError("out of memory"));
    expect(await asked({ verdict: bound, prove }, dpop).answer).toMatchObject({ outcome: "deny", reason: "outage" });
  });

  test("that is refused at an observed target passes there, and is recorded as what it is", async () => {
    const { answer } = asked({ verdict: bound, target: { mode: "observe" } }, question);
    expect(await answer).toMatchObject({ outcome: "would_deny", reason: "bound_as_bearer" });
  });
});

describe("a bearer token", () => {
  test("is not enough where the target wants a proof, which is said", async () => {
    const { answer } = asked({ verdict: good, target: { proof: "required" } }, question);
    expect(await answer).toMatchObject({ outcome: "deny", reason: "proof_required", unauthenticated: true });
  });

  test("is not made better by somebody's proof", async () => {
    const prove = vi.fn(proven);
    const { answer } = asked({ verdict: good, target: { proof: "required" }, prove }, { ...dpop });
    expect(await answer).toMatchObject({ outcome: "deny", reason: "credential_invalid" });
    expect(prove).not.toHaveBeenCalled();
  });

  test("with a proof beside it is decided as ever, and at once", () => {
    const { answer } = asked({ verdict: good }, { ...question, proof: "a.b.c" });
    expect(answer).toMatchObject({ outcome: "allow", cacheSeconds: 0 });
  });
});

test.each(["DPoP", "DPoP ", "Dpop  ", "Basic Z29vZA==", "good", "bearerx", "dpop,", ""])(
  "%j carries no credential",
  async (authorization) => {
    const { answer } = asked({ verdict: bound, prove: proven }, { ...dpop, authorization });
    expect(await answer).toMatchObject({ outcome: "deny", reason: "no_credential" });
  },
);

function asked(options: Parameters<typeof point>[0], put: Question) {
  const { made, noted } = point(options);
  return { answer: made.answer(put), noted };
}
