import { describe, expect, test } from "vitest";
import { authAccountClaims, jobAccountClaims, sentinelClaims, systemAccountClaims } from "./account-claims.ts";
import { operatorClaims } from "./operator-claims.ts";

const key = `A${"B".repeat(55)}`;
const job = jobAccountClaims({ key, name: "CI", signingKeys: ["A1", "A2"], jetstream: {} });
const auth = authAccountClaims({ key, name: "AUTH", signingKeys: [], users: ["U2", "U1"], xkey: "X1" });
const system = systemAccountClaims({ key, name: "SYS", signingKeys: [] });

/** A limit that is left out is none at all for nats-server: nobody could connect. */
const everyLimit = ["subs", "data", "payload", "imports", "exports", "wildcards", "conn", "leaf"];

test.each([job, auth, system])("$name says every limit", ({ nats }) => {
  expect(Object.keys(nats.limits as object)).toEqual(expect.arrayContaining(everyLimit));
  expect(nats.limits).toMatchObject({ conn: -1, subs: -1, data: -1, payload: -1, wildcards: true });
});

describe("a job's account", () => {
  test("lists its signing keys in the order they were made", () => {
    expect(job).toMatchObject({ sub: key, name: "CI", nats: { type: "account", signing_keys: ["A1", "A2"] } });
  });

  test("lists none where there is none, rather than an empty list", () => {
    const bare = jobAccountClaims({ key, name: "CI", signingKeys: [], jetstream: {} });
    expect(bare.nats).not.toHaveProperty("signing_keys");
  });

  test("allows nothing to a user that says nothing, no leaf nodes, no bearers, nothing in or out", () => {
    expect(job.nats.default_permissions).toEqual({ pub: { deny: [">"] }, sub: { deny: [">"] } });
    expect(job.nats.limits).toMatchObject({ leaf: 0, imports: 0, exports: 0, disallow_bearer: true });
  });

  test.each([
    { jetstream: {}, limits: { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 } },
    { jetstream: { fileBytes: 10 }, limits: { mem_storage: -1, disk_storage: 10 } },
    { jetstream: { memoryBytes: 0, fileBytes: 10 }, limits: { mem_storage: 0, disk_storage: 10 } },
  ] as const)("has streams as $jetstream says", ({ jetstream, limits }) => {
    expect(jobAccountClaims({ key, name: "CI", signingKeys: [], jetstream }).nats.limits).toMatchObject(limits);
  });

  test("has no streams where there are to be none", () => {
    const { limits } = jobAccountClaims({ key, name: "CI", signingKeys: [], jetstream: false }).nats;
    expect(limits).not.toHaveProperty("disk_storage");
    expect(limits).not.toHaveProperty("mem_storage");
  });
});

test("the account that asks has streams for nobody, and says who answers", () => {
  expect(auth.nats.limits).not.toHaveProperty("disk_storage");
  expect(auth.nats.authorization).toEqual({ auth_users: ["U1", "U2"], allowed_accounts: ["*"], xkey: "X1" });
});

test.each([
  [false, true],
  [true, undefined],
])("the sentinel may do nothing; direct: %s needs a proxy: %s", (direct, proxyRequired) => {
  const { nats } = sentinelClaims({ key: "U1", direct });
  expect(nats).toMatchObject({ bearer_token: true, pub: { deny: [">"] }, sub: { deny: [">"] } });
  expect(nats.proxy_required).toBe(proxyRequired);
});

test("the operator names the system account and who signs for it", () => {
  const { sub, nats } = operatorClaims({ key: "O1", name: "acme", signingKeys: ["O2"], systemAccount: key });
  expect([sub, nats]).toEqual(["O1", { signing_keys: ["O2"], system_account: key, type: "operator" }]);
});
