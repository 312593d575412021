import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { Agent, fetch } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createPrivateCa } from "./certificate.ts";
import { type Gitlab, startGitlab } from "./gitlab.ts";

const now = Date.now(); // TLS checks certificates by the machine's clock
const ca = createPrivateCa(now);
const dispatcher = new Agent({ connect: { ca: ca.ca } });
let gitlab: Gitlab;

beforeAll(async () => {
  gitlab = await startGitlab({ now: () => now, root: "/gitlab", tls: ca.issue(["gitlab.acme.test", "127.0.0.1"]) });
});
afterAll(async () => {
  await dispatcher.destroy();
  await gitlab.close();
});

const path = "/.well-known/openid-configuration";

test("discovery under a relative root names the issuer exactly and leads to two RS256 keys", async () => {
  const document = (await (await fetch(`${gitlab.issuer}${path}`, { dispatcher })).json()) as Record<string, string>;
  expect(gitlab.issuer).toMatch(/^https:\/\/127\.0\.0\.1:\d+\/gitlab$/);
  expect(document).toMatchObject({ issuer: gitlab.issuer, jwks_uri: `${gitlab.issuer}/oauth/discovery/keys` });
  const jwks = (await (await fetch(document.jwks_uri!, { dispatcher })).json()) as { keys: Record<string, string>[] };
  expect(jwks.keys).toHaveLength(2);
  for (const key of jwks.keys) {
    expect(key).toMatchObject({ kty: "RSA", alg: "RS256", use: "sig" });
    expect(Object.keys(key).toSorted()).toEqual(["alg", "e", "kid", "kty", "n", "use"]);
  }
});

test("without the private CA there is no connection, outside the root nothing", async () => {
  await expect(fetch(`${gitlab.issuer}${path}`)).rejects.toThrow();
  expect((await fetch(`${new URL(gitlab.issuer).origin}${path}`, { dispatcher })).status).toBe(404);
});

test("the CA is one, the server's certificate is not", () => {
  const authority = new X509Certificate(ca.ca);
  const leaf = new X509Certificate(ca.issue(["gitlab.acme.test"]).cert);
  expect([authority.ca, leaf.ca, leaf.checkIssued(authority)]).toEqual([true, false, true]);
  expect(leaf.verify(authority.publicKey)).toBe(true);
  expect([leaf.checkHost("gitlab.acme.test"), leaf.checkHost("evil.test")]).toEqual(["gitlab.acme.test", undefined]);
});

test("an outage answers 502 or nothing, is counted, and ends", async () => {
  const before = gitlab.fetches.discovery;
  const ask = () => fetch(`${gitlab.issuer}${path}`, { dispatcher });
  gitlab.setReachable(false);
  expect((await ask()).status).toBe(502);
  gitlab.setReachable(false, "dropped");
  await expect(ask()).rejects.toThrow();
  gitlab.setReachable(true);
  expect((await ask()).status).toBe(200);
  expect(gitlab.fetches.discovery).toBe(before + 3);
  expect(gitlab.requests.slice(-3).map((line) => line.status)).toEqual([502, 0, 200]);
});

test("a configured external URL is the issuer, wherever the server listens", async () => {
  const hidden = await startGitlab({ now: () => now, externalUrl: "https://gitlab.acme.test/git", root: "/git" });
  const document = await (await fetch(`${hidden.localUrl}${path}`)).json();
  expect(document).toMatchObject({ issuer: "https://gitlab.acme.test/git" });
  await hidden.close();
});

test.each([{ root: "gitlab" }, { root: "/gitlab/" }, { externalUrl: "https://gitlab.acme.test/" }])(
  "%j is refused: the issuer must be exact",
  async (wrong) => {
    await expect(startGitlab({ now: () => now, ...wrong })).rejects.toThrow(TypeError);
  },
);

const folders = ["../gitlab/", "../buildkite/"].map((folder) => new URL(folder, import.meta.url));
const files = folders.flatMap((folder) => readdirSync(folder).map((name) => new URL(name, folder)));

test("no file of the simulators imports anything of the product", () => {
  expect(files.length).toBeGreaterThan(20);
  const outside = files.filter((file) => /(from|import) ?\(?"(\.\.\/){2,}/.test(readFileSync(file, "utf8")));
  expect(outside).toEqual([]);
});
