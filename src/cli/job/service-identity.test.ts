import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket, TlsOptions } from "node:tls";
import { request } from "undici";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { pem } from "../pem.ts";
import { listenForTarget } from "./listener.ts";
import { serviceProblem } from "./service-identity.ts";
import { type FakeAuthority, fakeAuthority, type Leaf } from "./svid-authority.fake.ts";

const ledger = "spiffe://acme.example/ns/bank/sa/ledger";
const day = 86_400_000;

let acme: FakeAuthority;
let mesh: FakeAuthority;
/** Another CA that calls itself acme.example. */
let forger: FakeAuthority;
let heard: { authorization: string | undefined; caller: string | undefined }[] = [];
let said: string[] = [];
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  [acme, mesh, forger] = (await Promise.all(["acme.example", "mesh.example", "acme.example"].map(fakeAuthority))) as [
    FakeAuthority,
    FakeAuthority,
    FakeAuthority,
  ];
});
beforeEach(() => {
  heard = [];
  said = [];
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});

/** A service of the mesh with this certificate. */
async function service(authority: FakeAuthority, leaf: Leaf, tls: TlsOptions = {}): Promise<number> {
  const { certificate, privateKey } = await authority.issue(leaf);
  const own = { cert: pem("CERTIFICATE", [certificate]), key: pem("PRIVATE KEY", [privateKey]) };
  const server = createServer({ ...own, ...tls }, (asked, answer) => {
    const caller = (asked.socket as TLSSocket).getPeerCertificate().subjectaltname;
    heard.push({ authorization: asked.headers.authorization, caller });
    answer.end("the ledger");
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

/** Asks through the job's own listener, as a script does. */
async function ask(port: number, options: { spiffeId?: string; believes?: readonly FakeAuthority[] } = {}) {
  const bundles = new Map((options.believes ?? [acme, mesh]).map((each) => [each.trustDomain, [each.root]]));
  const { certificate, privateKey } = await acme.issue({ uris: ["spiffe://acme.example/role/release"] });
  const own = {
    spiffeId: "spiffe://acme.example/role/release",
    role: "release",
    certificates: [certificate],
    privateKey,
  };
  const all = { svids: [own], trustDomain: "acme.example", bundles, expiresAt: Number.POSITIVE_INFINITY };
  const held = { latest: () => all, current: async () => all, follow: () => () => undefined };
  const listener = await listenForTarget({
    route: {
      name: "ledger",
      variable: "LEDGER",
      host: `127.0.0.1:${port}`,
      gateway: new URL(`https://127.0.0.1:${port}`),
      spiffeId: options.spiffeId ?? ledger,
    },
    ca: undefined,
    trace: "0".repeat(32),
    credential: async () => [["authorization", "Bearer the-jobs-token"]],
    svids: async () => ({ x509: held }),
    onImpostor: (detail) => said.push(detail),
    onRefusal: () => undefined,
    onOutage: (detail) => said.push(detail),
  });
  closing.push(listener.close);
  const { statusCode, body } = await request(`${listener.url}/v1/entries`);
  return { status: statusCode, text: await body.text() };
}

describe("a service of the mesh", () => {
  test("that is who the target names gets the request with its credential", async () => {
    const port = await service(acme, { uris: [ledger], dns: "not-the-address.example" });
    expect(await ask(port)).toEqual({ status: 200, text: "the ledger" });
    expect(heard).toMatchObject([{ authorization: "Bearer the-jobs-token" }]);
    expect(said).toEqual([]);
  });

  test("of a federated trust domain is verified with that domain's own bundle", async () => {
    const spiffeId = "spiffe://mesh.example/ns/bank/sa/ledger";
    const port = await service(mesh, { uris: [spiffeId] });
    expect((await ask(port, { spiffeId })).status).toBe(200);
  });

  test("is shown the job's SVID where it asks for one", async () => {
    const port = await service(acme, { uris: [ledger] }, { requestCert: true, ca: pem("CERTIFICATE", [acme.root]) });
    await ask(port);
    expect(heard[0]?.caller).toBe("URI:spiffe://acme.example/role/release");
  });

  const wrong: {
    readonly what: string;
    readonly by?: () => FakeAuthority;
    readonly leaf: Leaf;
    readonly why: string;
  }[] = [
    { what: "another service", leaf: { uris: ["spiffe://acme.example/ns/bank/sa/loans"] }, why: "who answers is" },
    { what: "a name below its own", leaf: { uris: [`${ledger}/x`] }, why: "who answers is" },
    { what: "its name in other letters", leaf: { uris: [ledger.toUpperCase()] }, why: "who answers is" },
    { what: "a name that looks like a list", leaf: { uris: [`${ledger}, URI:${ledger}`] }, why: "who answers" },
    { what: "no name", leaf: { uris: [] }, why: "has 0 SPIFFE IDs" },
    { what: "its name as a host name only", leaf: { uris: [], dns: ledger }, why: "has 0 SPIFFE IDs" },
    { what: "two names, one of them its own", leaf: { uris: [ledger, `${ledger}2`] }, why: "has 2 SPIFFE IDs" },
    {
      what: "a certificate that expired",
      leaf: { uris: [ledger], notAfter: new Date(Date.now() - 1000) },
      why: "expired",
    },
    {
      what: "a certificate of tomorrow",
      leaf: { uris: [ledger], notBefore: new Date(Date.now() + day), notAfter: new Date(Date.now() + 2 * day) },
      why: "not valid yet",
    },
    { what: "a forged root of the same name", by: () => forger, leaf: { uris: [ledger] }, why: "certificate" },
    { what: "another trust domain's root for its name", by: () => mesh, leaf: { uris: [ledger] }, why: "another root" },
  ];

  test.each(wrong)("with $what is refused before anything is sent", async ({ by = () => acme, leaf, why }) => {
    const port = await service(by(), leaf);
    const answer = await ask(port);
    expect(answer.status).toBe(502);
    expect(answer.text).toContain(why);
    expect(answer.text).toContain(ledger);
    expect(said).toMatchObject([expect.stringContaining(why)]);
    expect(heard, "nothing reached it").toEqual([]);
  });

  test("that signs for itself is refused", async () => {
    const { certificate, privateKey } = await selfSigned();
    const port = await service(acme, { uris: [] }, { cert: certificate, key: privateKey });
    expect(await ask(port)).toMatchObject({ status: 502 });
    expect(heard).toEqual([]);
  });

  test("of a trust domain without a bundle is refused without a connection", async () => {
    const port = await service(acme, { uris: [ledger] });
    const answer = await ask(port, { spiffeId: "spiffe://unknown.example/ledger" });
    expect([answer.status, heard]).toEqual([502, []]);
    expect(answer.text).toContain("no trust bundle of unknown.example");
  });

  test("that speaks no TLS, or is not there, is an outage and no refusal", async () => {
    const plain = createHttpServer((_, answer) => answer.end());
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
    const { port } = plain.address() as AddressInfo;
    expect((await ask(port)).text).toContain("did not answer");
    await new Promise((resolve) => plain.close(resolve));
    expect((await ask(port)).text).toContain("ECONNREFUSED");
  });

  test("is asked again for each connection, so that a withdrawn root counts", async () => {
    const port = await service(acme, { uris: [ledger] });
    const answer = await ask(port, { believes: [forger] });
    expect([answer.status, heard]).toEqual([502, []]);
  });
});

test.each([
  { names: undefined, good: false },
  { names: "", good: false },
  { names: "DNS:ledger.internal", good: false },
  { names: `URI:${ledger}`, good: true },
  { names: `DNS:ledger.internal, URI:${ledger}`, good: true },
  { names: `URI:"${ledger}"`, good: false },
  { names: `DNS:"x, URI:${ledger}"`, good: false },
  { names: `DNS:"x, URI:${ledger}, y"`, good: false },
  { names: `DNS:"x\\", URI:${ledger}, y"`, good: false },
  { names: `DNS:x, URI:${ledger}, IP Address:127.0.0.1`, good: true },
  { names: `URI:${ledger}, URI:${ledger}`, good: false },
  { names: `URI: ${ledger}`, good: false },
])("names $names -> $good", ({ names, good }) => {
  const problem = serviceProblem({ target: "ledger", spiffeId: ledger }, { subjectaltname: names } as never);
  expect(problem === undefined).toBe(good);
});

async function selfSigned() {
  const { createPrivateCa } = await import("../../../demo/gitlab/certificate.ts");
  const own = createPrivateCa(Date.now());
  const { cert, key } = own.issue(["localhost"]);
  return { certificate: cert, privateKey: key };
}
