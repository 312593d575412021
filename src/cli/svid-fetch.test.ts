import { X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Input } from "./command.ts";
import { type FakeIo, fakeIo } from "./job/command-io.fake.ts";
import { type FakeAuthority, fakeAuthority } from "./job/svid-authority.fake.ts";
import { fetchSvid } from "./svid-fetch.ts";

let io: FakeIo;
let server: Server;
let url: string;
let authority: FakeAuthority;
let asked: { name: unknown; secret: unknown }[] = [];
/** What the broker does next; it certifies where nothing is said. */
let answers: { status: number; body: object }[] = [];
let ttlMs = 3_600_000;

beforeEach(async () => {
  io = fakeIo();
  asked = [];
  answers = [];
  ttlMs = 3_600_000;
  authority = await fakeAuthority("acme.example");
  server = createServer((request, response) => {
    void certify(request).then(({ status, body }) => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  writeFileSync(join(io.cwd, "edge.secret"), "s3cret-of-edge-1\n", { mode: 0o600 });
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

async function certify(request: IncomingMessage): Promise<{ status: number; body: object }> {
  asked.push({ name: request.headers["x-wayleave-gateway"], secret: request.headers["x-wayleave-gateway-secret"] });
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const next = answers.shift();
  if (next !== undefined) return next;
  const { csr } = JSON.parse(Buffer.concat(chunks).toString("utf8")) as { csr: string };
  const expires = new Date(Date.now() + ttlMs);
  const uris = ["spiffe://acme.example/gateway/edge-1"];
  const certificate = await authority.sign(Buffer.from(csr, "base64"), { uris, dns: "edge-1" });
  const base64 = (der: Uint8Array) => Buffer.from(der).toString("base64");
  return {
    status: 200,
    body: {
      spiffe_id: uris[0],
      certificates: [base64(certificate)],
      bundle: [base64(authority.root)],
      federated_bundles: {},
      expires_at: expires.toISOString(),
    },
  };
}

function run(options: Record<string, unknown> = {}, signal = new AbortController().signal): Promise<number> {
  const all = { gateway: "edge-1", secretFile: "edge.secret", out: "tls", url, ...options };
  return fetchSvid(io, new Input([], all), signal);
}

const read = (name: string) => readFileSync(join(io.cwd, "tls", name), "utf8");
const mode = (name: string) => statSync(join(io.cwd, "tls", name)).mode & 0o777;
const serial = () => new X509Certificate(read("svid.pem")).serialNumber;

/** Stops the command when it would wait for the given time, and keeps how long it would have waited. */
function stopAfter(pauses: number): { readonly signal: AbortSignal; readonly waited: number[] } {
  const stop = new AbortController();
  const waited: number[] = [];
  io = {
    ...io,
    pause: async (ms) => {
      waited.push(ms);
      if (waited.length >= pauses) stop.abort();
    },
  };
  return { signal: stop.signal, waited };
}

describe("svid fetch", () => {
  test("writes a certificate for a key made here, and nothing else", async () => {
    expect(await run()).toBe(0);
    const leaf = new X509Certificate(read("svid.pem"));
    expect(leaf.subjectAltName).toContain("URI:spiffe://acme.example/gateway/edge-1");
    expect(leaf.checkPrivateKey((await import("node:crypto")).createPrivateKey(read("svid.key")))).toBe(true);
    expect(leaf.verify(new X509Certificate(read("bundle.pem")).publicKey)).toBe(true);
    expect(readdirSync(join(io.cwd, "tls")).toSorted()).toEqual(["bundle.pem", "svid.key", "svid.pem"]);
    expect([mode("svid.key"), mode("svid.pem")]).toEqual([0o600, 0o644]);
    expect(asked).toEqual([{ name: "edge-1", secret: "s3cret-of-edge-1" }]);
    expect(io.out() + io.err()).not.toContain("s3cret");
  });

  test("a key file that others could read gets closed", async () => {
    mkdirSync(join(io.cwd, "tls"));
    writeFileSync(join(io.cwd, "tls", "svid.key"), "old", { mode: 0o644 });
    await run();
    expect(mode("svid.key")).toBe(0o600);
  });

  test("follows: renews at half life and reloads each time", async () => {
    const { signal, waited } = stopAfter(3);
    const mark = join(io.cwd, "reloads");
    expect(await run({ follow: true, reload: `echo again >> ${mark}` }, signal)).toBe(0);
    expect(asked.length).toBe(3);
    expect(waited.every((ms) => ms > 1_700_000 && ms <= 1_800_000)).toBe(true);
    expect(readFileSync(mark, "utf8")).toBe("again\n".repeat(3));
  });

  test("follows through an outage, keeping what is there, and says so", async () => {
    await run();
    const before = serial();
    answers = [{ status: 503, body: { code: "key_unavailable", detail: "No CA is valid." } }];
    const { signal, waited } = stopAfter(2);
    expect(await run({ follow: true }, signal)).toBe(0);
    expect(waited[0]).toBeLessThan(60_000);
    expect(serial()).not.toBe(before);
    expect(io.err()).toContain("tried again");
  });

  test("a failing reload is said, and is no end", async () => {
    const { signal } = stopAfter(2);
    expect(await run({ follow: true, reload: "exit 7" }, signal)).toBe(0);
    expect(io.err()).toContain("--reload ended with status 7");
    expect(asked.length).toBe(2);
  });

  test.each([
    { what: "an unknown gateway", status: 403, code: "gateway_unauthenticated" },
    { what: "a refused request", status: 400, code: "csr_invalid" },
    { what: "an outage without --follow", status: 503, code: "key_unavailable" },
  ])("$what ends it, and what was there stays", async ({ status, code }) => {
    await run();
    const before = serial();
    answers = [{ status, body: { code, detail: "No." } }];
    await expect(run()).rejects.toThrow("No.");
    expect(serial()).toBe(before);
  });

  test("a refusal ends it with --follow too", async () => {
    answers = [{ status: 403, body: { code: "gateway_unauthenticated", detail: "No." } }];
    await expect(run({ follow: true })).rejects.toMatchObject({ code: "gateway_unauthenticated" });
  });

  test("a certificate that had expired when it came is not written", async () => {
    ttlMs = -1000;
    await expect(run()).rejects.toThrow("clock");
    expect(() => read("svid.pem")).toThrow("ENOENT");
  });

  test.each([
    { what: "no gateway", options: { gateway: undefined }, says: "--gateway" },
    { what: "no folder", options: { out: undefined }, says: "--out" },
    { what: "no secret", options: { secretFile: undefined }, says: "--secret-file" },
    { what: "a secret file that is not there", options: { secretFile: "nothing" }, says: "ENOENT" },
    { what: "no broker", options: { url: undefined }, says: "--url" },
    { what: "a broker without TLS", options: { url: "http://wayleave.acme.example" }, says: "https" },
    { what: "a secret with a line break", options: { secretFile: "two.secret" }, says: "no secret" },
    { what: "an empty secret", options: { secretFile: "empty.secret" }, says: "no secret" },
  ])("$what is refused before anything is sent", async ({ options, says }) => {
    writeFileSync(join(io.cwd, "two.secret"), "one\r\nx-other: two");
    writeFileSync(join(io.cwd, "empty.secret"), "\n");
    await expect(run(options)).rejects.toMatchObject({
      code: "invalid_request",
      message: expect.stringContaining(says),
    });
    expect(asked).toEqual([]);
  });

  test("beside the broker's own configuration it needs neither secret nor address", async () => {
    const files = { "encryption.key": Buffer.alloc(32, 1).toString("base64"), "edge.secret": "s3cret-of-edge-1" };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(io.cwd, name), text, { mode: 0o600 });
    const gateway = {
      name: "edge-1",
      kind: "nginx",
      targets: ["billing"],
      secret_file: "edge.secret",
      broker_url: url,
    };
    const config = {
      issuer: url,
      trust_domain: "acme.example",
      listen: { address: "127.0.0.1:1" },
      data: "./data",
      policy: "./policy",
      keys: { encryption_key_file: "encryption.key" },
      issuers: [{ name: "gitlab", type: "gitlab", url: "https://gitlab.example" }],
      gateways: [gateway],
    };
    const path = join(io.cwd, "wayleave.yaml");
    mkdirSync(join(io.cwd, "policy"));
    writeFileSync(path, JSON.stringify(config));
    const options = { secretFile: undefined, url: undefined, config: path };
    expect(await run(options).catch(() => io.err())).toBe(0);
    expect(asked).toEqual([{ name: "edge-1", secret: "s3cret-of-edge-1" }]);
    await expect(run({ ...options, gateway: "edge-9" })).rejects.toMatchObject({ code: "not_found" });
  });

  test("a folder that cannot be written keeps what is in it, without leftovers", async () => {
    await run();
    const before = serial();
    // A folder in a file's place: renaming over it fails for everybody, root too.
    const { rmSync } = await import("node:fs");
    rmSync(join(io.cwd, "tls", "bundle.pem"));
    mkdirSync(join(io.cwd, "tls", "bundle.pem", "x"), { recursive: true });
    chmodSync(join(io.cwd, "tls"), 0o755);
    await expect(run()).rejects.toThrow("cannot be written");
    expect(serial()).toBe(before);
    expect(readdirSync(join(io.cwd, "tls")).toSorted()).toEqual(["bundle.pem", "svid.key", "svid.pem"]);
  });
});
