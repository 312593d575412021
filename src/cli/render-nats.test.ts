import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { RenderedNats } from "../gateway/nats/render.ts";
import { Input } from "./command.ts";
import { fakeIo } from "./job/command-io.fake.ts";
import { renderNatsCommand } from "./render-nats.ts";

const rendered: RenderedNats = {
  files: [
    { path: "wayleave.conf", text: "timeout: 2\n", mode: 0o644 },
    { path: "account-CI.jwt", text: "eyJ.x\n", mode: 0o644 },
  ],
  notes: [{ code: "direct_mode", text: "direct: true is authentication WITHOUT message audit\u001b[2J" }],
};

let folder: string;
let asked: (string | undefined)[];
const closing: (() => Promise<void>)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wl-"));
  asked = [];
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
  rmSync(folder, { recursive: true });
});

const gateway = (name: string) =>
  `  - { name: ${name}, kind: nats, targets: [events], servers: ["nats://127.0.0.1:4222"] }`;

/** Runs it where these NATS gateways are configured, beside an operator's socket that answers so. */
async function run(
  options: Readonly<Record<string, unknown>>,
  { names = ["bus"], status = 200, answer = rendered as object, broker = true } = {},
) {
  if (broker) {
    const server = createServer((request, response) => {
      asked.push(request.url);
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(answer));
    });
    await new Promise<void>((resolve) => server.listen(join(folder, "admin.sock"), resolve));
    closing.push(() => new Promise((resolve) => server.close(() => resolve())));
  }
  const config = join(folder, "wayleave.yaml");
  writeFileSync(join(folder, "key"), Buffer.alloc(32, 1).toString("base64"));
  writeFileSync(join(folder, "policy.yaml"), "version: 1\n");
  const lines = [
    "issuer: https://wayleave.acme.example",
    "trust_domain: acme.example",
    "data: .",
    "policy: policy.yaml",
    "keys: { encryption_key_file: key }",
    "issuers: [{ name: gitlab, type: gitlab }]",
    ...(names.length === 0 ? [] : ["gateways:", ...names.map(gateway)]),
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const io = fakeIo();
  const out = join(folder, "out");
  const exit = await renderNatsCommand.run(io, new Input([], { config, out, ...options }));
  return { exit, out: io.out(), read: (path: string) => readFileSync(join(out, path), "utf8"), folder: out };
}

test("writes what the broker rendered, and its notes", async () => {
  const { exit, out, read, folder: written } = await run({});
  expect([exit, asked]).toEqual([0, ["/v1/gateways/bus/nats"]]);
  expect(read("wayleave.conf")).toBe("timeout: 2\n");
  expect(read("account-CI.jwt")).toBe("eyJ.x\n");
  expect(statSync(join(written, "wayleave.conf")).mode & 0o777).toBe(0o644);
  expect(out).toContain(`wrote ${join(written, "account-CI.jwt")}\n`);
  expect(out).toMatch(/note {2}direct: true is authentication WITHOUT message audit/);
  expect(out).not.toContain("\u001b[2J");
});

test("asks with what only the servers' machine knows", async () => {
  await run({ data: "/srv/a b", tlsCert: "/etc/a.crt", tlsKey: "/etc/a.key", fragments: true });
  expect(asked).toEqual([
    "/v1/gateways/bus/nats?data=%2Fsrv%2Fa+b&tls_cert=%2Fetc%2Fa.crt&tls_key=%2Fetc%2Fa.key&fragments=true",
  ]);
});

test("with --json tells the notes by their codes", async () => {
  const { out, folder: written } = await run({ json: true });
  const { files, notes } = JSON.parse(out) as { files: string[]; notes: string[] };
  expect(files).toEqual([join(written, "wayleave.conf"), join(written, "account-CI.jwt")]);
  expect(notes[0]).toMatch(/^direct_mode: /);
});

test("asks about the gateway that was named", async () => {
  await run({ gateway: "b" }, { names: ["a", "b"] });
  expect(asked).toEqual(["/v1/gateways/b/nats"]);
});

test.each([
  { what: "one of several, and none was named", options: {}, names: ["a", "b"], words: /Say which gateway.*: a, b/ },
  { what: "one that is not there", options: { gateway: "c" }, names: ["a"], words: /no nats gateway "c".*: a/ },
  { what: "any, where there is none", options: {}, names: [], words: /of kind nats: none/ },
])("refuses $what, before it asks", async ({ options, names, words }) => {
  await expect(run(options, { names })).rejects.toMatchObject({
    code: "not_found",
    message: expect.stringMatching(words),
  });
  expect(asked).toEqual([]);
});

test("says why the broker refused, and writes nothing", async () => {
  const answer = { code: "render_refused", detail: "Gateway bus: target p has an account by template." };
  const refused = run({}, { status: 422, answer });
  await expect(refused).rejects.toMatchObject({ code: "render_refused", message: answer.detail });
  expect(statSync(join(folder, "out"), { throwIfNoEntry: false })).toBeUndefined();
});

test("no broker is an outage: only it has the keys", async () => {
  await expect(run({}, { broker: false })).rejects.toMatchObject({ code: "broker_unreachable" });
});
