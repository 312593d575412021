import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CompactEncrypt } from "jose";
import { expect, onTestFinished, test } from "vitest";
import type { Config, EnvoyGatewayConfig, GatewayConfig } from "../config/config.ts";
import type { AuditEvent } from "../core/record.ts";
import { KeyHistory } from "../credential/key-history.ts";
import { generateKey } from "../credential/key-material.ts";
import { keyOperation, openBrokerKeys } from "./keys.ts";

const clock = { now: () => Date.parse("2026-11-24T09:30:00Z") };
const operatorKey = Buffer.alloc(32, 7);

const base = { targets: ["billing"], secret: "s", brokerUrl: "http://127.0.0.1:8700" };
const envoy = (name: string, more: Partial<EnvoyGatewayConfig>): EnvoyGatewayConfig => ({
  ...base,
  kind: "envoy",
  name,
  mode: "native",
  protocol: "grpc",
  revocation: "grpc",
  revocationTtlMs: 15_000,
  keyCacheMs: 60_000,
  behind: [],
  listen: { host: "127.0.0.1", port: 10_000 },
  upstreams: {},
  ...more,
});
const mesh = { ...base, namespace: "shop", workloads: [], meshTrustDomain: "cluster.local" };
const nginx: GatewayConfig = { ...base, kind: "nginx", name: "edge-1", cacheMs: 0, njs: false };

function config(gateways: readonly GatewayConfig[]): Config {
  const dataDir = mkdtempSync(join(tmpdir(), "wayleave-keys-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  return {
    file: join(dataDir, "wayleave.yaml"),
    issuer: "https://wayleave.example",
    trustDomain: "acme.example",
    listen: { host: "127.0.0.1", port: 8700, behindTlsProxy: true },
    dataDir,
    policyPath: "/etc/wayleave/policy",
    keys: { encryptionKey: operatorKey.toString("base64") },
    sessions: { maxMs: 3_600_000, tokenTtlMs: 300_000 },
    spiffe: { svidTtlMs: 900_000, prefixes: [], federatesWith: [] },
    approvers: [],
    issuers: [],
    gateways,
    durable: "within_50ms",
    log: { level: "info" },
  };
}

async function opened(of: Config) {
  const told: AuditEvent[] = [];
  const append = async (events: readonly AuditEvent[]) => {
    told.push(...events);
    return [];
  };
  const onFault = (error: unknown) => expect.fail(String(error));
  const keys = await openBrokerKeys(of, { recorder: { append }, history: new KeyHistory(), clock, onFault });
  return { keys, told };
}

test("the first start makes a key of each class, each with a record, and the next one finds them", async () => {
  const of = config([nginx]);
  const { keys, told } = await opened(of);
  expect(told.map(({ kind }) => kind)).toEqual(
    Array.from({ length: 3 }, () => ["key.created", "key.activated"]).flat(),
  );
  const kids = (each: typeof keys) => [each.accessToken.kid, each.assertion.kid, each.jwtSvid.kid];
  expect(new Set(kids(keys)).size).toBe(3);
  expect(kids((await opened(of)).keys)).toEqual(kids(keys));
});

test("windows are twice what the slowest Envoy keeps, and key sets may be kept as long as the quickest keeps them", async () => {
  const slow = envoy("slow", { keyCacheMs: 3_600_000 });
  const { keys } = await opened(config([nginx, envoy("quick", {}), slow]));
  expect(keys.windows["access-token"]).toEqual({ maxAgeMs: 60_000, cacheMs: 3_600_000, windowMs: 7_200_000 });
  expect(keys.windows.assertion).toEqual(keys.windows["access-token"]);
  expect(keys.windows["jwt-svid"]).toEqual({ maxAgeMs: 300_000, cacheMs: 300_000, windowMs: 600_000 });
  const { usableAt } = await keys.chains["access-token"].prepare();
  expect(usableAt).toBe(clock.now() + 7_200_000);
});

test("only gateways that check signatures themselves are told of, for the class they check", async () => {
  const of = config([
    nginx,
    envoy("outer", {}),
    envoy("inner", { behind: ["outer"], revocation: "file", revocationTtlMs: 30_000 }),
    envoy("asking", { mode: "call_out" }),
    { ...mesh, kind: "istio", name: "mesh", mode: "native" },
    { ...mesh, kind: "istio", name: "mesh-asking", mode: "call_out" },
    { ...mesh, kind: "linkerd", name: "mesh-2" },
  ]);
  const { holders } = keyOperation((await opened(of)).keys, of, clock);
  expect(holders.map(({ gateway, class: keyClass }) => `${gateway} ${keyClass}`)).toEqual([
    "outer access-token",
    "inner assertion",
    "mesh access-token",
  ]);
  expect(holders[0]?.note).toBe("keeps them 60 s; hears of a revocation at once, or refuses everything after 15 s");
});

test("a file of the first form opens, and what it becomes is recorded", async () => {
  const of = config([nginx]);
  const [before, signing] = [await generateKey(), await generateKey()];
  const sealed = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify({ keys: [before, signing] })))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM", typ: "wayleave-keys+access-token" })
    .encrypt(operatorKey);
  mkdirSync(join(of.dataDir, "keys"));
  writeFileSync(join(of.dataDir, "keys", "access-token.jwe"), sealed);
  const { keys, told } = await opened(of);
  expect([keys.accessToken.kid, keys.accessToken.liveKids()]).toEqual([signing.kid, [before.kid, signing.kid]]);
  expect(told[0]).toEqual({ kind: "key.activated", data: { class: "access-token", kid: signing.kid } });
  expect(keys.chains["access-token"].list()[0]).toMatchObject({
    state: "retiring",
    stoppedAt: clock.now(),
    lifeMs: 300_000,
  });
});

test("another operator key stops the start, and nothing is replaced", async () => {
  const of = config([nginx]);
  await opened(of);
  const other = { ...of, keys: { encryptionKey: Buffer.alloc(32, 8).toString("base64") } };
  await expect(opened(other)).rejects.toMatchObject({ code: "key_unavailable" });
});

test("a new operator key with the one before it takes over all that is there, and nothing that is out becomes invalid", async () => {
  const of = config([nginx]);
  const { keys: before } = await opened(of);
  const next = Buffer.alloc(32, 8).toString("base64");
  const both = { ...of, keys: { encryptionKey: next, previousEncryptionKey: of.keys.encryptionKey } };
  const { keys: during, told } = await opened(both);
  expect(told[0]).toEqual({ kind: "keys.rewrapped", data: { files: during.rewrapped } });
  expect(during.rewrapped).toEqual(["access-token.jwe", "assertion.jwe", "jwt-svid.jwe", "secrets.jwe"]);
  const { keys: after, told: nothing } = await opened({ ...of, keys: { encryptionKey: next } });
  expect(nothing.filter(({ kind }) => kind === "keys.rewrapped")).toEqual([]);
  for (const keys of [during, after]) {
    expect(keys.accessToken.kid).toBe(before.accessToken.kid);
    expect(keys.fingerprint("token")).toBe(before.fingerprint("token"));
    expect(keys.refreshToken("ses_a", 1)).toBe(before.refreshToken("ses_a", 1));
  }
  await expect(opened(of)).rejects.toMatchObject({ code: "key_unavailable" });
});
