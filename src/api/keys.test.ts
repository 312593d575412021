import type { FastifyInstance } from "fastify";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { KeyFolder } from "../credential/key-chain.fake.ts";
import type { KeyClass } from "../credential/key-life.ts";
import { createApp } from "./app.ts";
import type { KeyHolder, KeyResponse, KeyRevocationResponse, KeysResponse } from "./contract.ts";
import { keyRoutes } from "./keys.ts";

const holders: readonly KeyHolder[] = [
  { gateway: "sidecar-1", kind: "envoy", class: "access-token", note: "keeps them 60 s" },
  { gateway: "inner-1", kind: "envoy", class: "assertion", note: "keeps them 60 s" },
];

async function served() {
  const folders = {
    "access-token": new KeyFolder("access-token"),
    assertion: new KeyFolder("assertion"),
    "jwt-svid": new KeyFolder("jwt-svid"),
  };
  const chains = {
    "access-token": await folders["access-token"].open(),
    assertion: await folders.assertion.open(),
    "jwt-svid": await folders["jwt-svid"].open(),
  };
  const folder = folders["access-token"];
  const routes = keyRoutes({
    now: () => folder.now,
    classes: ["access-token", "assertion", "jwt-svid"],
    chain(keyClass: KeyClass) {
      if (keyClass === "nats") throw new TypeError("not one of the classes");
      return chains[keyClass];
    },
    cacheMs: () => 60_000,
    holders,
  });
  const app = createApp({ log: pino({ level: "silent" }), behindProxy: false, routes: [routes] });
  onTestFinished(() => app.close());
  return { app, folder, chain: chains["access-token"] };
}

async function ask<T>(
  app: FastifyInstance,
  method: "GET" | "POST",
  url: string,
): Promise<{ status: number; body: T & { code?: string } }> {
  const response = await app.inject({ method, url, ...(method === "POST" ? { payload: {} } : {}) });
  return { status: response.statusCode, body: response.json() };
}

test("every class has its own keys, listed with what is next and never with the key", async () => {
  const { app } = await served();
  const { status, body } = await ask<KeysResponse>(app, "GET", "/v1/keys");
  expect(status).toBe(200);
  expect(body.keys.map((key) => `${key.class} ${key.state}`)).toEqual([
    "access-token active",
    "assertion active",
    "jwt-svid active",
  ]);
  expect(body.gateways).toEqual(holders);
  const known = ["class", "created_at", "kid", "signs_since", "state"];
  expect(body.keys.map((key) => Object.keys(key).toSorted())).toEqual([known, known, known]);
});

test("prepare, activate and retire answer with the key, its times, and the gateways that hold its class", async () => {
  const { app, folder, chain } = await served();
  const first = chain.ring.kid;
  const prepared = await ask<KeyResponse>(app, "POST", "/v1/keys/access-token/prepare");
  expect(prepared.body.key).toMatchObject({
    state: "prepared",
    usable_at: new Date(folder.now + folder.windowMs).toISOString(),
  });
  expect(prepared.body.gateways.map(({ gateway }) => gateway)).toEqual(["sidecar-1"]);
  folder.now += folder.windowMs;
  const active = await ask<KeyResponse>(app, "POST", "/v1/keys/access-token/activate");
  expect(active.body.key).toMatchObject({ kid: prepared.body.key.kid, state: "active" });
  expect(active.body.keys.find((key) => key.kid === first)).toMatchObject({
    state: "retiring",
    last_token_expires_at: new Date(folder.now + folder.lifeMs).toISOString(),
  });
  folder.now += folder.lifeMs;
  const retired = await ask<KeyResponse>(app, "POST", `/v1/keys/access-token/${first}/retire`);
  expect([retired.body.key.state, retired.body.keys.length]).toEqual(["retired", 1]);
});

test("revoke says which key signs now, and when kept key sets know of both", async () => {
  const { app, folder, chain } = await served();
  const first = chain.ring.kid;
  const { body } = await ask<KeyRevocationResponse>(app, "POST", `/v1/keys/access-token/${first}/revoke`);
  const inAMinute = new Date(folder.now + 60_000).toISOString();
  expect(body).toMatchObject({
    key: { kid: first, state: "revoked" },
    forgotten_at: inAMinute,
    signing_known_at: inAMinute,
  });
  expect(body.signing?.kid).toBe(chain.ring.kid);
  expect(folder.records.find(({ kind }) => kind === "key.revoked")?.data).toMatchObject({ by: "local operator" });
});

test("a key that was prepared long enough is known already when it takes over", async () => {
  const { app, folder, chain } = await served();
  await chain.prepare();
  folder.now += 45_000;
  const { body } = await ask<KeyRevocationResponse>(app, "POST", `/v1/keys/access-token/${chain.ring.kid}/revoke`);
  expect(Date.parse(body.signing_known_at ?? "")).toBe(folder.now + 15_000);
});

test("a revocation that could not make another key says that nothing signs", async () => {
  const { app, folder, chain } = await served();
  folder.broken.file = true;
  const { status, body } = await ask<KeyRevocationResponse>(
    app,
    "POST",
    `/v1/keys/access-token/${chain.ring.kid}/revoke`,
  );
  expect([status, body.signing, body.signing_known_at]).toEqual([200, undefined, undefined]);
});

test.each([
  { url: "access-token/activate", status: 409, code: "key_not_ready" },
  { url: "access-token/SIGNING/retire", status: 409, code: "key_not_ready" },
  { url: "access-token/nobody/retire", status: 404, code: "key_not_found" },
  { url: "access-token/nobody/revoke", status: 404, code: "key_not_found" },
  { url: "assertion/SIGNING/revoke", status: 404, code: "key_not_found" },
  { url: "cloud/prepare", status: 400, code: "invalid_request" },
  { url: "__proto__/prepare", status: 400, code: "invalid_request" },
  { url: "constructor/activate", status: 400, code: "invalid_request" },
  { url: "access-token/SIGNING/activate", status: 404, code: "not_found" },
])("POST /v1/keys/$url -> $status $code", async ({ url, status, code }) => {
  const { app, chain } = await served();
  const path = url.replace("SIGNING", chain.ring.kid);
  const answer = await ask(app, "POST", `/v1/keys/${path}`);
  expect([answer.status, answer.body.code]).toEqual([status, code]);
});

test("a revocation that the journal does not take says so", async () => {
  const { app, folder, chain } = await served();
  folder.broken.journal = true;
  const answer = await ask(app, "POST", `/v1/keys/access-token/${chain.ring.kid}/revoke`);
  expect([answer.status, answer.body.code]).toEqual([503, "journal_unavailable"]);
});
