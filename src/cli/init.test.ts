import { existsSync, lstatSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadConfig } from "../config/load.ts";
import { type FakeIo, fakeIo } from "./job/command-io.fake.ts";
import { runCli } from "./program.ts";

let gitlabUrl: string;
let keys: unknown;
let close: () => Promise<void>;

/** A self-managed GitLab under a relative root, as far as its keys go. */
beforeEach(async () => {
  keys = [{ kty: "RSA", kid: "1" }];
  const server = createServer((request, response) => {
    const answers: Readonly<Record<string, unknown>> = {
      "/gitlab/.well-known/openid-configuration": { jwks_uri: `${gitlabUrl}/oauth/discovery/keys` },
      "/gitlab/oauth/discovery/keys": { keys },
    };
    response.end(JSON.stringify(answers[request.url ?? ""] ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  gitlabUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/gitlab`;
  close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
});
afterEach(() => close());

const init = (io: FakeIo, ...more: readonly string[]) =>
  runCli(
    ["init", "--yes", "--gitlab-url", gitlabUrl, "--project", "acme/shop", "--upstream", "billing.internal", ...more],
    io,
  );

describe("init", () => {
  test("writes what `serve` needs, checks the issuer's keys, and prints the reader's own lines", async () => {
    const io = fakeIo();
    expect([await init(io), io.err()]).toEqual([0, ""]);
    expect(io.out()).toContain(`issuer     ${gitlabUrl} answers with 1 key\n`);
    expect(io.out()).toContain('id_tokens: { WAYLEAVE_ID_TOKEN: { aud: "http://127.0.0.1:8700" } }');
    expect(io.out()).toContain("wayleave exec --target billing -- ");
    expect(io.out()).toContain(`include ${join(io.cwd, "nginx", "edge-1", "wayleave-location-billing.conf")};`);
    const loaded = loadConfig({ path: join(io.cwd, "wayleave.yaml"), env: {} });
    expect(loaded).toMatchObject({
      config: { issuers: [{ url: gitlabUrl }], gateways: [{ name: "edge-1", targets: ["billing"] }] },
    });
    for (const secret of ["encryption.key", "edge-1.secret"]) {
      expect(lstatSync(join(io.cwd, "secrets", secret)).mode & 0o777).toBe(0o600);
      expect(io.out()).not.toContain(readFileSync(join(io.cwd, "secrets", secret), "utf8").trim());
    }
    expect(existsSync(join(io.cwd, "nginx", "edge-1", "wayleave-http.conf"))).toBe(true);
  });

  test("writes a policy that is valid, passes its own tests, and only observes", async () => {
    const io = fakeIo();
    await init(io);
    const checked = fakeIo({}, io.cwd);
    expect(await runCli(["policy", "check", join(io.cwd, "policy")], checked)).toBe(0);
    expect(checked.out()).toMatch(/^policy [0-9a-f]{12} is valid: 1 target, 1 role, 0 deny, 1 test passed\n$/);
    expect(readFileSync(join(io.cwd, "policy", "policy.yaml"), "utf8")).toContain("\nmode: observe ");
  });

  test("makes different secrets each time", async () => {
    const texts = await Promise.all(
      [1, 2].map(async () => {
        const io = fakeIo();
        await init(io);
        return readFileSync(join(io.cwd, "secrets", "encryption.key"), "utf8");
      }),
    );
    expect(texts[0]).not.toBe(texts[1]);
  });

  test("overwrites nothing, and writes nothing beside what is there", async () => {
    const io = fakeIo();
    writeFileSync(join(io.cwd, "wayleave.yaml"), "mine");
    expect(await init(io)).toBe(2);
    expect([readFileSync(join(io.cwd, "wayleave.yaml"), "utf8"), existsSync(join(io.cwd, "secrets"))]).toEqual([
      "mine",
      false,
    ]);
  });

  test("says what to do when the issuer has no keys: exit status 5, everything else is there", async () => {
    keys = [];
    const io = fakeIo();
    expect(await init(io)).toBe(5);
    expect(io.out().replaceAll(/\s+/g, " ")).toContain(
      "could not be fetched (no keys). Correct `url` in wayleave.yaml, relative root included",
    );
    expect(existsSync(join(io.cwd, "wayleave.yaml"))).toBe(true);
  });

  test.each<{ what: string; argv: readonly string[]; says: RegExp }>([
    { what: "a GitLab that is no URL", argv: ["--gitlab-url", "gitlab"], says: /is no URL/ },
    { what: "a project without a group", argv: ["--project", "shop"], says: /no project path/ },
    { what: "an upstream that is no host", argv: ["--upstream", "a b"], says: /no host name/ },
  ])("refuses $what, and writes nothing", async ({ argv, says }) => {
    const io = fakeIo();
    expect(await init(io, ...argv)).toBe(2);
    expect(io.err()).toMatch(says);
    expect(existsSync(join(io.cwd, "wayleave.yaml"))).toBe(false);
  });
});
