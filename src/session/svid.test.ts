import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { harness } from "./harness.fake.ts";
import { createSessionSvids, type SvidDeps, type SvidRole } from "./svid.ts";

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "minted",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );

const release: SvidRole = { role: { id: "release", ttlSeconds: 60 }, stands: true };
const read: SvidRole = { role: { id: "read" }, stands: true };
const csr = new Uint8Array([1]);

async function setUp(roles: readonly SvidRole[] = [release], parts: Partial<SvidDeps> = {}) {
  const h = harness();
  const { session } = await h.exchange("token:1:1");
  let current = roles;
  const signed: { readonly until: number }[] = [];
  const svids = createSessionSvids({
    trustDomain: "acme.example",
    prefixes: ["spiffe://acme.example/ns/ci"],
    x509TtlMs: 900_000,
    clock: h.clock,
    recorder: h.recorder,
    random: (bytes) => new Uint8Array(bytes).fill(1),
    roles: () => current,
    signX509: async (request) => {
      signed.push(request);
      return { certificates: [csr], serial: "40", signer: "ca", expiresAt: request.until };
    },
    signJwt: async ({ spiffeId, audience, expiresAt }) => ({
      token: JSON.stringify({ spiffeId, audience, expiresAt }),
      kid: "k",
    }),
    reservedAudience: (audience) => audience.startsWith("https://wayleave"),
    ...parts,
  });
  return {
    ...h,
    svids,
    signed,
    of: h.session(session.id),
    setRoles: (next: readonly SvidRole[]) => {
      current = next;
    },
  };
}

const kinds = (h: { recorder: { kinds(): readonly string[] } }) =>
  h.recorder.kinds().filter((kind) => kind.startsWith("svid."));

describe("an X.509-SVID", () => {
  test("is of the session's role, recorded, and lives as long as the role says", async () => {
    const h = await setUp();
    const { identity, expiresAt } = await h.svids.x509(h.of, { csr });
    expect(identity.spiffeId).toBe("spiffe://acme.example/role/release");
    expect(expiresAt).toBe(h.clock.now() + 60_000);
    expect(h.recorder.records.at(-1)).toMatchObject({
      kind: "svid.minted",
      session: h.of.id,
      job: { job_id: "1" },
      data: { type: "x509", spiffe_id: identity.spiffeId, serial: "40", role: "release", signer: "ca" },
    });
  });

  test("has the mesh identity that the role names", async () => {
    const named: SvidRole = {
      role: { id: "release", spiffeId: "spiffe://acme.example/ns/ci/sa/release" },
      stands: true,
    };
    const h = await setUp([named]);
    expect((await h.svids.x509(h.of, { csr })).identity).toMatchObject({
      spiffeId: named.role.spiffeId,
      role: "release",
    });
  });

  test.each<{ of: string; roles: readonly SvidRole[]; role?: string; says: RegExp }>([
    { of: "no role", roles: [], says: /no role of the policy/ },
    { of: "a role it does not have", roles: [release], role: "admin", says: /does not have that identity/ },
    { of: "several roles and names none", roles: [release, read], says: /by its role: read, release/ },
    {
      of: "a condition on the request",
      roles: [{ role: { id: "r" }, stands: false, reason: "needs_request", detail: "request.method == 'GET'" }],
      role: "r",
      says: /looks at the request/,
    },
    {
      of: "a missing fact",
      roles: [{ role: { id: "r" }, stands: false, reason: "fact_missing", detail: "change.merged" }],
      says: /change\.merged, which is missing/,
    },
    {
      of: "a deny",
      roles: [{ role: { id: "r" }, stands: false, reason: "denied", detail: "no-agents" }],
      says: /deny no-agents/,
    },
    ...[
      "spiffe://evil.example/ns/ci/sa/x",
      "spiffe://acme.example/ns/cicero",
      "spiffe://acme.example/ns",
      "spiffe://acme.example/gateway/edge-1",
      "spiffe://acme.example/role/admin",
      "spiffe://acme.example/ci/gitlab/1",
      "spiffe://acme.example/ns/ci/../admin",
      "spiffe://acme.example",
      "https://acme.example/ns/ci",
    ].map((spiffeId) => ({
      of: `the identity ${spiffeId}`,
      roles: [{ role: { id: "r", spiffeId }, stands: true }],
      says: /its spiffe_id/,
    })),
  ])("is refused to a job with $of", async ({ roles, role, says }) => {
    const h = await setUp(roles);
    await expect(h.svids.x509(h.of, { csr, ...(role === undefined ? {} : { role }) })).rejects.toMatchObject({
      code: "spiffe_id_refused",
      message: expect.stringMatching(says),
    });
    expect([h.signed.length, kinds(h)]).toEqual([0, ["svid.refused"]]);
  });

  test.each([
    [
      "an ended session",
      "session_ended",
      async (h: Awaited<ReturnType<typeof setUp>>) => h.lifecycle.end(h.of, "operator"),
    ],
    [
      "a suspended one",
      "session_suspended",
      async (h: Awaited<ReturnType<typeof setUp>>) => h.lifecycle.suspend(h.of, "lease_missed"),
    ],
    [
      "one at its hard end",
      "session_ended",
      async (h: Awaited<ReturnType<typeof setUp>>) => h.clock.advance(3_600_000),
    ],
  ])("is refused to %s", async (_of, expected, change) => {
    const h = await setUp();
    await change(h);
    expect(await code(h.svids.x509(h.of, { csr }))).toBe(expected);
    expect(await code(h.svids.jwt(h.of, { audience: ["a"] }))).toBe(expected);
    expect(() => h.svids.identities(h.of)).toThrow(expect.objectContaining({ code: expected }));
    expect(h.signed).toEqual([]);
  });

  test("is not handed out without its record", async () => {
    const h = await setUp();
    h.recorder.fail = true;
    expect(await code(h.svids.x509(h.of, { csr }))).toBe("journal_unavailable");
    expect(await code(h.svids.jwt(h.of, { audience: ["a"] }))).toBe("journal_unavailable");
  });

  test.each([
    ["ends", "session_ended", async (h: Awaited<ReturnType<typeof setUp>>) => h.lifecycle.end(h.of, "job_finished")],
    ["loses the role", "spiffe_id_refused", async (h: Awaited<ReturnType<typeof setUp>>) => h.setRoles([read])],
  ])("is dropped where the session %s while it is made", async (_what, expected, change) => {
    const h = await setUp([release], {
      signX509: async ({ until }) => {
        await change(h);
        return { certificates: [csr], serial: "40", signer: "ca", expiresAt: until };
      },
    });
    expect(await code(h.svids.x509(h.of, { csr }))).toBe(expected);
  });

  test("of a request that is refused leaves a record", async () => {
    const h = await setUp([release], {
      signX509: async () => {
        throw new WayleaveError("csr_invalid", "The CSR asks to be a CA.");
      },
    });
    expect(await code(h.svids.x509(h.of, { csr }))).toBe("csr_invalid");
    expect(h.recorder.records.at(-1)).toMatchObject({
      kind: "svid.refused",
      session: h.of.id,
      data: { code: "csr_invalid" },
    });
  });
});

test("one session has eight SVIDs under way at most, and as many again afterwards", async () => {
  const gate = Promise.withResolvers<void>();
  const h = await setUp([release], {
    signX509: async ({ until }) => {
      await gate.promise;
      return { certificates: [csr], serial: "40", signer: "ca", expiresAt: until };
    },
  });
  const ask = () => code(h.svids.x509(h.of, { csr }));
  const first = Array.from({ length: 8 }, ask);
  expect(await ask()).toBe("key_unavailable");
  gate.resolve();
  expect(await Promise.all([...first, ask()])).toEqual(
    Array.from({ length: 9 }, (_, at) => (at < 8 ? "minted" : "key_unavailable")),
  );
  expect(await ask()).toBe("minted");
});

describe("JWT-SVIDs", () => {
  test.each([
    ["spiffe://acme.example/role/read", 300_000],
    ["spiffe://acme.example/role/release", 60_000],
  ])("are of %s as asked, five minutes at most and never longer than the role", async (spiffeId, lifeMs) => {
    const h = await setUp([release, read]);
    const { identity, expiresAt } = await h.svids.jwt(h.of, { audience: ["billing.internal"], spiffeId });
    expect([identity.spiffeId, expiresAt - h.clock.now()]).toEqual([spiffeId, lifeMs]);
    expect(h.recorder.records.at(-1)).toMatchObject({
      kind: "svid.minted",
      data: { type: "jwt", spiffe_id: spiffeId, audience: ["billing.internal"], jti: expect.any(String), signer: "k" },
    });
  });

  test("need no name where there is one identity", async () => {
    const h = await setUp([release]);
    expect((await h.svids.jwt(h.of, { audience: ["a"] })).identity.role).toBe("release");
    h.setRoles([release, read]);
    expect(await code(h.svids.jwt(h.of, { audience: ["a"] }))).toBe("spiffe_id_refused");
  });

  test.each<[string, readonly string[]]>([
    ["nobody", []],
    ["too many", Array.from({ length: 11 }, (_, at) => `a${at}`)],
    ["an empty audience", [""]],
    ["an audience with a line break", ["a\nb"]],
    ["an audience of other letters", ["bílling"]],
    ["an endless audience", ["a".repeat(257)]],
    ["Wayleave itself, among others", ["billing", "https://wayleave.acme.example/oauth2/token"]],
  ])("are refused for %s", async (_of, audience) => {
    const h = await setUp();
    expect(await code(h.svids.jwt(h.of, { audience }))).toBe("audience_refused");
    expect(kinds(h)).toEqual(["svid.refused"]);
  });

  test.each(["spiffe://acme.example/role/admin", "spiffe://evil.example/role/release", "nonsense", ""])(
    "are refused as %s",
    async (spiffeId) => {
      const h = await setUp();
      expect(await code(h.svids.jwt(h.of, { audience: ["a"], spiffeId }))).toBe("spiffe_id_refused");
    },
  );
});

test("no SVID outlives the hard end of its session (law 6)", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 3_700_000 }),
      fc.option(fc.integer({ min: 1, max: 4000 })),
      async (passed, ttl) => {
        const role = { id: "r", ...(ttl === null ? {} : { ttlSeconds: ttl }) };
        const h = await setUp([{ role, stands: true }]);
        h.clock.advance(passed);
        const ends: number[] = [];
        await h.svids.jwt(h.of, { audience: ["a"] }).then(
          ({ expiresAt }) => ends.push(expiresAt),
          () => 0,
        );
        await h.svids.x509(h.of, { csr }).then(
          ({ expiresAt }) => ends.push(expiresAt),
          () => 0,
        );
        return (
          ends.every((end) => end <= h.of.view.hardEndAt && end > h.clock.now()) &&
          (passed < 3_600_000 || ends.length === 0)
        );
      },
    ),
    { numRuns: 200 },
  );
});
