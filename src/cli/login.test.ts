import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { fakeIo } from "./job/command-io.fake.ts";
import { createProofKey } from "./job/proof-key.ts";
import { runCli } from "./program.ts";
import { keepSignIn, keptSignIns } from "./sign-in-file.ts";

let home: string;
let server: Server;
let asked: { readonly line: string; readonly authorization: string | undefined; readonly dpop: boolean }[];
let url: string;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "wayleave-login-"));
  asked = [];
  server = createServer((request, response) => {
    const { method, headers } = request;
    asked.push({
      line: `${method} ${request.url}`,
      authorization: headers.authorization,
      dpop: headers.dpop !== undefined,
    });
    response.setHeader("content-type", "application/json");
    if (request.url === "/operator/v1/sign-out") response.statusCode = 204;
    response.end(
      response.statusCode === 204 ? "" : JSON.stringify({ who: { by: "bootstrap" }, roles: [], may: ["x"] }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  rmSync(home, { recursive: true, force: true });
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
});

async function run(...argv: string[]) {
  const io = fakeIo({ HOME: home }, home);
  const status = await runCli(argv, io);
  return { status, out: io.out(), err: io.err() };
}

function signedIn(brokerUrl = url, expiresAt = "2999-01-01T00:00:00.000Z"): void {
  keepSignIn({ env: { HOME: home } }, { brokerUrl, token: "wlo_x", key: createProofKey().jwk, expiresAt });
}

test.each([
  { argv: ["login"], says: /Which broker\?/ },
  { argv: ["login", "wayleave.example"], says: /is no https URL/ },
  { argv: ["login", "http://wayleave.example"], says: /is no https URL/ },
  {
    argv: ["login", "https://x.example", "--bootstrap-token-file", "gone"],
    says: /It goes away when somebody signs in/,
  },
  { argv: ["login", "https://x.example", "--bootstrap-token-file", "empty"], says: /empty is empty/ },
  { argv: ["login", "https://x.example", "--ca-file", "gone"], says: /--ca-file names gone/ },
])("$argv: refused before anything is asked", async ({ argv, says }) => {
  writeFileSync(join(home, "empty"), "\n");
  const { status, err } = await run(...argv);
  expect([status, err.replaceAll(/\s+/g, " ")]).toEqual([2, expect.stringMatching(says)]);
  expect(asked).toEqual([]);
});

test("a command asks the broker one is signed in to, with token and proof", async () => {
  signedIn();
  const { status, out } = await run("whoami", "--broker", `${url}/`);
  expect([status, out]).toEqual([0, expect.stringContaining("the bootstrap token")]);
  expect(asked).toEqual([{ line: "GET /operator/v1/me", authorization: "DPoP wlo_x", dpop: true }]);
});

test("a token goes to its own broker only", async () => {
  signedIn("https://other.example");
  const { status, err } = await run("whoami", "--broker", url);
  expect([status, err]).toEqual([3, expect.stringContaining(`Nobody is signed in to ${url}`)]);
  expect(asked).toEqual([]);
});

test("a sign-in that is over asks nobody", async () => {
  signedIn(url, "2020-01-01T00:00:00.000Z");
  const { status, err } = await run("whoami", "--broker", url);
  expect([status, err]).toEqual([3, expect.stringContaining("is over since 2020")]);
  expect(asked).toEqual([]);
});

test("a named configuration means its socket, whoever is signed in", async () => {
  signedIn();
  writeFileSync(join(home, "w.yaml"), "data: ./data\n");
  const { status, err } = await run("whoami", "--config", join(home, "w.yaml"));
  expect([status, err]).toEqual([5, expect.stringContaining("admin.sock")]);
  expect(asked).toEqual([]);
});

test("logout tells the broker and forgets the key; also where the broker does not answer", async () => {
  signedIn();
  expect(await run("logout")).toMatchObject({ status: 0, out: `signed out of ${url}\n` });
  expect(asked).toMatchObject([{ line: "POST /operator/v1/sign-out" }]);
  expect(await run("logout")).toMatchObject({ status: 3 });
  signedIn("http://127.0.0.1:1");
  expect(await run("logout")).toMatchObject({ status: 5, err: expect.stringContaining("the key is forgotten") });
  expect(keptSignIns({ env: { HOME: home } })).toEqual([]);
});
