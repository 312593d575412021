import { createPublicKey, hash, type X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type FakeAuthority, fakeAuthority, type Leaf } from "../src/cli/job/svid-authority.fake.ts";
import { pem } from "../src/cli/pem.ts";
import { gatewaySecrets } from "../src/gateway/envoy/sds-gateways.ts";
import { createGatewayGuard } from "../src/gateway/gateway-guard.ts";
import { createGrpcServer, type GrpcServer } from "../src/grpc/server.ts";
import { startMtlsEnvoy } from "./mtls-envoy.ts";
import type { RealEnvoy } from "./real-envoy.ts";

const edge = "spiffe://acme.example/gateway/edge-1";
const release = "spiffe://acme.example/role/release";

let acme: FakeAuthority;
let newAcme: FakeAuthority;
let mesh: FakeAuthority;
let server: GrpcServer;
let port = 0;
let authority: FakeAuthority;
let bundles: Map<string, string>;
let changed: Set<() => void>;
/** What SDS says instead of the key it made. */
let brokenKey: string | undefined;
let timers: (() => void)[];
let refusals: string[];
let troubles: string[];
const running: RealEnvoy[] = [];

beforeAll(async () => {
  acme = await fakeAuthority("acme.example");
  newAcme = await fakeAuthority("acme.example");
  mesh = await fakeAuthority("mesh.example");
});
beforeEach(async () => {
  authority = acme;
  bundles = new Map([acme, mesh].map((each) => [each.trustDomain, pem("CERTIFICATE", [each.root])]));
  changed = new Set();
  brokenKey = undefined;
  timers = [];
  refusals = [];
  troubles = [];
  server = createGrpcServer(gatewaySecrets(deps), { onFault: (error) => troubles.push(String(error)) });
  const address = await server.listen({ host: "127.0.0.1", port: 0 });
  port = typeof address === "string" ? 0 : address.port;
});
afterEach(async () => {
  for (const envoy of running.splice(0)) {
    await envoy.stop();
    envoy.remove();
  }
  await server.close(0);
});

const deps: Parameters<typeof gatewaySecrets>[0] = {
  clock: { now: Date.now, monotonic: () => performance.now() },
  after(_, run) {
    timers.push(run);
    return () => void timers.splice(timers.indexOf(run), 1);
  },
  trustDomain: "acme.example",
  guard: createGatewayGuard([{ name: "edge-1", secretHashes: [hash("sha256", "the secret")] }]),
  async mint() {
    const { certificate, privateKey } = await authority.issue({ uris: [edge], dns: "edge-1" });
    return {
      spiffeId: edge,
      certificateChainPem: pem("CERTIFICATE", [certificate]),
      privateKeyPem: brokenKey ?? pem("PRIVATE KEY", [privateKey]),
      expiresAt: Date.now() + 3_600_000,
    };
  },
  bundles: () => bundles,
  onBundles(listener) {
    changed.add(listener);
    return () => changed.delete(listener);
  },
  onRefused: (detail) => refusals.push(detail),
  onTrouble: (gateway, detail) => troubles.push(`${gateway}: ${detail}`),
};

const metadata = { "x-wayleave-gateway": "edge-1", "x-wayleave-gateway-secret": "the secret" };

async function envoy(options: Partial<Parameters<typeof startMtlsEnvoy>[0]> = {}): Promise<RealEnvoy> {
  const started = await startMtlsEnvoy({ sds: { port, metadata }, accepts: [release], ...options });
  running.push(started);
  return started;
}

/** What a client with this certificate meets: the page and who served it, or why there is none. */
async function visit(at: RealEnvoy, by: FakeAuthority | undefined, leaf: Partial<Leaf> = {}) {
  const own = await by?.issue({ uris: [release], ...leaf });
  return new Promise<{ readonly page?: string; readonly peer?: X509Certificate; readonly problem?: string }>(
    (resolve) => {
      const socket = connect({
        host: "127.0.0.1",
        port: at.port(),
        rejectUnauthorized: false,
        ...(own === undefined
          ? {}
          : { cert: pem("CERTIFICATE", [own.certificate]), key: pem("PRIVATE KEY", [own.privateKey]) }),
      });
      let page = "";
      const peer = () => socket.getPeerX509Certificate();
      let served: X509Certificate | undefined;
      socket.once("secureConnect", () => {
        served = peer();
        socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      });
      socket.on("data", (chunk) => (page += chunk));
      socket.once("error", (error: NodeJS.ErrnoException) => resolve({ problem: error.code ?? error.message }));
      socket.once("close", () =>
        resolve(page === "" ? { problem: "closed" } : { page, ...(served === undefined ? {} : { peer: served }) }),
      );
    },
  );
}

test.each(["GRPC", "DELTA_GRPC"] as const)(
  "by %s: its own certificate, and a job of the right role is served",
  async (protocol) => {
    const at = await envoy({ protocol });
    const { page, peer } = await visit(at, acme);
    expect(page).toContain("served");
    expect(peer?.subjectAltName).toBe(`URI:${edge}, DNS:edge-1`);
    expect(peer?.verify(createPublicKey(bundles.get("acme.example") ?? ""))).toBe(true);
    expect(troubles).toEqual([]);
  },
);

test.each([
  { who: "no certificate", by: () => undefined },
  { who: "another role", by: () => acme, leaf: { uris: ["spiffe://acme.example/role/read-billing"] } },
  { who: "a role below the right one", by: () => acme, leaf: { uris: [`${release}/x`] } },
  { who: "an expired SVID", by: () => acme, leaf: { notAfter: new Date(Date.now() - 1000) } },
  { who: "the right name from another CA of the same name", by: () => newAcme },
  { who: "the right name from another trust domain's CA", by: () => mesh },
  {
    who: "a federated trust domain, whom nobody asked for",
    by: () => mesh,
    leaf: { uris: ["spiffe://mesh.example/x"] },
  },
])("$who is turned away", async ({ by, leaf = {} }) => {
  const at = await envoy();
  expect(await visit(at, by(), leaf)).toMatchObject({ problem: expect.any(String) });
});

test("ALL believes each trust domain by its own roots, and by no other's", async () => {
  const theirs = "spiffe://mesh.example/ns/bank/sa/loans";
  const at = await envoy({ roots: "ALL", accepts: [release, theirs] });
  expect((await visit(at, acme)).page).toContain("served");
  expect((await visit(at, mesh, { uris: [theirs] })).page).toContain("served");
  expect(await visit(at, mesh), "mesh.example's CA says acme.example").toMatchObject({ problem: expect.any(String) });
  expect(await visit(at, acme, { uris: [theirs] })).toMatchObject({ problem: expect.any(String) });
});

test("an Envoy without the SPIFFE validator gets plain roots", async () => {
  const at = await envoy({ metadata: { disable_spiffe_cert_validation: true } });
  expect(await at.admin("/config_dump?resource=dynamic_active_secrets")).not.toContain("cert_validator.spiffe");
  expect((await visit(at, acme)).page).toContain("served");
  expect(await visit(at, newAcme)).toMatchObject({ problem: expect.any(String) });
});

test("a renewal and a new root reach the running Envoy; a withdrawn root is believed no longer", async () => {
  const at = await envoy();
  const before = (await visit(at, acme)).peer?.serialNumber;
  authority = newAcme;
  bundles.set("acme.example", pem("CERTIFICATE", [newAcme.root]));
  for (const listener of changed) listener();
  for (const renew of timers.splice(0)) renew();
  await expect.poll(async () => (await visit(at, newAcme)).page ?? "", { timeout: 5000 }).toContain("served");
  await expect.poll(async () => (await visit(at, newAcme)).peer?.serialNumber, { timeout: 5000 }).not.toBe(before);
  expect(await visit(at, acme)).toMatchObject({ problem: expect.any(String) });
});

test("what Envoy refuses is told, and it goes on with what it has", async () => {
  const at = await envoy();
  const before = (await visit(at, acme)).peer?.serialNumber;
  brokenKey = "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n";
  for (const renew of timers.splice(0)) renew();
  await expect.poll(() => troubles.join(), { timeout: 5000 }).toContain("edge-1: its Envoy refused a secret");
  expect(troubles.join()).not.toContain("nonsense");
  expect((await visit(at, acme)).peer?.serialNumber).toBe(before);
});

test("a broker that restarts costs nothing: Envoy serves meanwhile, and takes the next certificate from the new one", async () => {
  const at = await envoy();
  const before = (await visit(at, acme)).peer?.serialNumber;
  await server.close(0);
  expect((await visit(at, acme)).page).toContain("served");
  server = createGrpcServer(gatewaySecrets(deps), { onFault: (error) => troubles.push(String(error)) });
  await server.listen({ host: "127.0.0.1", port });
  await expect.poll(async () => (await visit(at, acme)).peer?.serialNumber, { timeout: 20_000 }).not.toBe(before);
});

test("an Envoy that proves nothing gets nothing, serves nobody, and is told of", async () => {
  const at = await envoy({
    sds: { port, metadata: { ...metadata, "x-wayleave-gateway-secret": "wrong" } },
    fetchTimeout: "1s",
  });
  await expect.poll(() => refusals.length).toBeGreaterThan(0);
  expect(await visit(at, acme)).toMatchObject({ problem: expect.any(String) });
});
