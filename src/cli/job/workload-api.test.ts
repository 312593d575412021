import { X509Certificate } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import { type FakeIo, fakeIo } from "./command-io.fake.ts";
import { fakeAuthority, urisOf } from "./svid-authority.fake.ts";
import { type FakeSvidBroker, fakeSvidBroker, outage, sessionEnded } from "./svid-broker.fake.ts";
import { type SvidSource, svidSource } from "./svid-source.ts";
import { workloadClient } from "./workload-client.fake.ts";
import { openWorkloadSocket, type WorkloadSocket } from "./workload-socket.ts";

const invalidArgument = 3;
const permissionDenied = 7;
const unimplemented = 12;
const unavailable = 14;

let io: FakeIo;
let clock = 0;
let broker: FakeSvidBroker;
let source: SvidSource;
let socket: WorkloadSocket;
let client: ReturnType<typeof workloadClient>;

beforeEach(async () => {
  clock = Date.now();
  io = { ...fakeIo(), now: () => clock };
  broker = await fakeSvidBroker("acme.example", () => clock);
  source = svidSource(io, broker);
  const opened = await openWorkloadSocket(io, {
    folder: io.env.XDG_RUNTIME_DIR ?? "",
    lease: "one",
    source: async () => source,
  });
  if (opened === undefined) throw new Error(io.err());
  socket = opened;
  client = workloadClient(socket.url);
});
afterEach(async () => {
  client.close();
  await socket.close();
});

describe("X.509-SVIDs", () => {
  test("one for each role, each with its own key, chain and bundle", async () => {
    broker.federated.set("mesh.example", await fakeAuthority("mesh.example"));
    const { svids, federatedBundles } = await client.x509Svids().next();
    expect(svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([
      ["spiffe://acme.example/role/release", "release"],
      ["spiffe://acme.example/role/read-billing", "read-billing"],
    ]);
    for (const { spiffeId, x509Svid, bundle } of svids) {
      expect(urisOf(x509Svid)).toEqual([spiffeId]);
      expect(new X509Certificate(x509Svid).verify(new X509Certificate(bundle).publicKey)).toBe(true);
    }
    expect(new Set(svids.map(({ x509SvidKey }) => Buffer.from(x509SvidKey).toString("hex"))).size).toBe(2);
    expect(Object.keys(federatedBundles)).toEqual(["spiffe://mesh.example"]);
  });

  test("two streams are one question to the broker, and bundles need no certificate", async () => {
    const { bundles } = await client.x509Bundles().next();
    expect([Object.keys(bundles), broker.asked.x509]).toEqual([["spiffe://acme.example"], 0]);
    await Promise.all([client.x509Svids(), client.x509Svids()].map((stream) => stream.next()));
    expect(broker.asked).toMatchObject({ ground: 1, x509: 2 });
  });

  test("stay while the broker is away and they are good; then the stream says Unavailable", async () => {
    const stream = client.x509Svids();
    await stream.next();
    broker.failure = outage();
    const another = await client.x509Svids().next();
    expect(another.svids.length).toBe(2);
    clock += broker.ttlMs + 1;
    await expect(client.x509Svids().next()).rejects.toMatchObject({ code: unavailable });
  });

  test("a broker that never answered is Unavailable, not a refusal", async () => {
    broker.failure = outage();
    await expect(client.x509Svids().next()).rejects.toMatchObject({ code: unavailable });
  });

  test.each([
    { what: "without a role that has an identity", roles: [], failure: undefined },
    { what: "that is suspended", roles: ["release"], failure: new WayleaveError("session_suspended", "Suspended.") },
    { what: "that is over", roles: ["release"], failure: sessionEnded() },
  ])("a session $what is PermissionDenied", async ({ roles, failure }) => {
    broker.roles = roles;
    broker.failure = failure;
    await expect(client.x509Svids().next()).rejects.toMatchObject({ code: permissionDenied });
    await expect(client.jwtSvids(["billing"])).rejects.toMatchObject({ code: permissionDenied });
  });

  test("the end of the session ends every stream at once, and nothing is given after it", async () => {
    const streams = [client.x509Svids(), client.x509Bundles(), client.jwtBundles()];
    await Promise.all(streams.map((stream) => stream.next()));
    source.end(sessionEnded());
    for (const stream of streams) await expect(stream.next()).rejects.toMatchObject({ code: permissionDenied });
    await expect(client.x509Svids().next()).rejects.toMatchObject({ code: permissionDenied });
    await expect(client.jwtSvids(["billing"])).rejects.toMatchObject({ code: permissionDenied });
  });
});

describe("JWT-SVIDs", () => {
  test("one for each role, or for the one that is named", async () => {
    const { svids } = await client.jwtSvids(["billing"]);
    expect(svids.map(({ hint }) => hint)).toEqual(["release", "read-billing"]);
    const only = await client.jwtSvids(["billing"], "spiffe://acme.example/role/read-billing");
    expect(only.svids.map(({ hint }) => hint)).toEqual(["read-billing"]);
    expect(broker.asked.jwt, "a token that is good is given again").toBe(2);
  });

  test.each([
    { audience: [], code: invalidArgument, what: "no audience" },
    { audience: [""], code: invalidArgument, what: "an empty audience" },
    { audience: Array.from({ length: 33 }, (_, at) => `a${at}`), code: invalidArgument, what: "too many audiences" },
    { audience: ["billing"], id: "spiffe://acme.example/role/admin", code: permissionDenied, what: "a role not held" },
    {
      audience: ["billing"],
      id: "spiffe://other.example/role/release",
      code: permissionDenied,
      what: "another domain",
    },
  ])("$what is refused", async ({ audience, id, code }) => {
    await expect(client.jwtSvids(audience, id)).rejects.toMatchObject({ code });
    expect(broker.asked.jwt).toBe(0);
  });

  test("another audience is another token, in whatever order", async () => {
    await client.jwtSvids(["a", "b"], "spiffe://acme.example/role/release");
    await client.jwtSvids(["b", "a", "a"], "spiffe://acme.example/role/release");
    expect(broker.asked.jwt).toBe(1);
    await client.jwtSvids(["a"], "spiffe://acme.example/role/release");
    expect(broker.asked.jwt).toBe(2);
  });

  test("are renewed at half life, and given again while the broker is away and they are good", async () => {
    const id = "spiffe://acme.example/role/release";
    const first = await client.jwtSvids(["a"], id);
    broker.failure = outage();
    clock += broker.ttlMs / 2 + 1;
    expect((await client.jwtSvids(["a"], id)).svids[0]?.svid).toBe(first.svids[0]?.svid);
    clock += broker.ttlMs / 2;
    await expect(client.jwtSvids(["a"], id)).rejects.toMatchObject({ code: unavailable });
  });
});

describe("validation", () => {
  const claims = () => ({
    sub: "spiffe://acme.example/role/release",
    aud: ["me"],
    exp: Math.floor(clock / 1000) + 60,
    extra: { nested: [1, "two", null] },
  });

  test("gives subject and claims, also of a federated trust domain", async () => {
    const mesh = await fakeAuthority("mesh.example");
    broker.federated.set("mesh.example", mesh);
    const own = await client.validate("me", await broker.authority.token(claims()));
    expect([own.spiffeId, own.claims?.extra]).toEqual([claims().sub, { nested: [1, "two", null] }]);
    const theirs = await client.validate("me", await mesh.token({ ...claims(), sub: "spiffe://mesh.example/db" }));
    expect(theirs.spiffeId).toBe("spiffe://mesh.example/db");
  });

  test.each([
    { what: "of another audience", change: { aud: ["you"] } },
    { what: "without an audience", change: { aud: undefined } },
    { what: "that has expired", change: { exp: 1 } },
    { what: "without an expiry", change: { exp: undefined } },
    { what: "of a trust domain that is not known", change: { sub: "spiffe://unknown.example/x" } },
    { what: "of a trust domain that did not sign it", change: { sub: "spiffe://mesh.example/x" } },
    { what: "whose subject is no SPIFFE ID", change: { sub: "release" } },
    { what: "whose subject is a whole trust domain", change: { sub: "spiffe://acme.example" } },
    { what: "of type at+jwt", header: { typ: "at+jwt" } },
    { what: "with a member that a JWT-SVID must not have", header: { jku: "https://evil.example" } },
    { what: "of a key that is not in the bundle", header: { kid: "another" } },
  ])("a token $what is refused", async ({ change = {}, header = {} }) => {
    broker.federated.set("mesh.example", await fakeAuthority("mesh.example"));
    const token = await broker.authority.token({ ...claims(), ...change } as never, header);
    const refused = await client.validate("me", token).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: invalidArgument });
    expect(String(refused)).not.toContain(token.split(".")[2]);
  });

  test.each(["", "x", "a.b.c", "e30.e30.", `${"a".repeat(20_000)}.b.c`])("no token at all: %.20s", async (token) => {
    await expect(client.validate("me", token)).rejects.toMatchObject({ code: invalidArgument });
  });

  test("needs an audience", async () => {
    const token = await broker.authority.token(claims());
    await expect(client.validate("", token)).rejects.toMatchObject({ code: invalidArgument });
  });

  test("a key for certificates vouches for no token", async () => {
    const { keys } = broker.authority.bundle;
    const asX509 = keys.map((key) => ({ ...key, use: "x509-svid" }));
    broker.authority = { ...broker.authority, bundle: { keys: asX509 } };
    const token = await broker.authority.token(claims());
    await expect(client.validate("me", token)).rejects.toMatchObject({ code: invalidArgument });
  });
});

describe("the protocol", () => {
  test.each([
    { metadata: {}, what: "no header" },
    { metadata: { "workload.spiffe.io": "false" }, what: "a header that says no" },
    { metadata: { "workload.spiffe.io": "TRUE" }, what: "a header in capitals" },
    { metadata: { "workload.spiffe.io": "" }, what: "an empty header" },
  ])("$what is InvalidArgument, and the broker is not asked", async ({ metadata }) => {
    const plain = workloadClient(socket.url, metadata as never);
    const calls = [
      plain.x509Svids().next(),
      plain.x509Bundles().next(),
      plain.jwtBundles().next(),
      plain.jwtSvids(["a"]),
      plain.validate("a", "b"),
    ];
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: invalidArgument });
    plain.close();
    expect(broker.asked).toEqual({ ground: 0, x509: 0, jwt: 0 });
  });

  test("WIT-SVIDs are not implemented, and said so", async () => {
    await expect(client.witSvids().next()).rejects.toMatchObject({ code: unimplemented });
  });

  test("bundles of JWT-SVIDs are the broker's own documents, by trust domain ID", async () => {
    const { bundles } = await client.jwtBundles().next();
    expect(Object.keys(bundles)).toEqual(["spiffe://acme.example"]);
    const document = JSON.parse(new TextDecoder().decode(bundles["spiffe://acme.example"]));
    expect(document).toEqual(JSON.parse(JSON.stringify(broker.authority.bundle)));
  });
});
