import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { KeySummary } from "../api/contract.ts";
import { Input } from "./command.ts";
import { fakeIo } from "./job/command-io.fake.ts";
import { keyActivate } from "./key-activate.ts";
import { keyList } from "./key-list.ts";
import { keyPrepare } from "./key-prepare.ts";
import { keyRetire } from "./key-retire.ts";
import { keyRevoke } from "./key-revoke.ts";
import { keyRotate } from "./key-rotate.ts";
import { clockTime } from "./key-text.ts";

const now = Date.parse("2026-11-24T14:00:00Z");
const kidA = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
const kidB = "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s";
const gateways = [{ gateway: "sidecar-1", kind: "envoy", class: "access-token", note: "keeps them 60 s" }];
const key = (kid: string, state: KeySummary["state"], more: Partial<KeySummary> = {}): KeySummary => ({
  class: "access-token",
  kid,
  state,
  created_at: "2026-11-20T08:00:00.000Z",
  ...more,
});

/** Runs a command against a broker that answers everything with one body; gives what was asked and printed. */
async function run(command: typeof keyList, args: readonly string[], body: unknown, options: object = {}) {
  const io = { ...fakeIo(), now: () => now };
  const data = join(io.cwd, "data");
  mkdirSync(data);
  writeFileSync(join(io.cwd, "wayleave.yaml"), `data: ${data}\n`);
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(join(data, "admin.sock"), resolve));
  onTestFinished(() => void server.close());
  const config = join(io.cwd, "wayleave.yaml");
  const status = await command.run(io, new Input(args, { config, ...options }));
  return { status, asked, out: io.out() };
}

test("key prepare says when to activate, and what each gateway needs", async () => {
  const prepared = key(kidB, "prepared", { usable_at: "2026-11-24T14:02:09.400Z" });
  const { asked, out } = await run(keyPrepare, ["access-token"], { key: prepared, keys: [], gateways });
  expect(asked).toEqual(["POST /v1/keys/access-token/prepare"]);
  expect(out).toBe(`access-token key ${kidB}  prepared
  next       activate it after 14:02:10 UTC: wayleave key activate access-token
  gateway    sidecar-1 (envoy) keeps them 60 s
`);
});

test("key prepare, asked again when the window is over, says now", async () => {
  const prepared = key(kidB, "prepared", { usable_at: "2026-11-24T13:59:00.000Z" });
  const { out } = await run(keyPrepare, ["access-token"], { key: prepared, keys: [], gateways: [] });
  expect(out).toContain("activate it now: wayleave key activate access-token\n");
});

test("key activate says how long the key before it stays", async () => {
  const keys = [key(kidA, "retiring", { last_token_expires_at: "2026-11-24T14:05:00.000Z" }), key(kidB, "active")];
  const { asked, out } = await run(keyActivate, ["access-token"], { key: keys[1], keys, gateways });
  expect(asked).toEqual(["POST /v1/keys/access-token/activate"]);
  expect(out).toBe(`access-token key ${kidB}  active
  before it  ${kidA} retires by itself at 14:05:00 UTC
`);
});

test("key retire says what became of it", async () => {
  const { asked, out } = await run(keyRetire, ["access-token", kidA], {
    key: key(kidA, "retired"),
    keys: [],
    gateways,
  });
  expect([asked, out]).toEqual([[`POST /v1/keys/access-token/${kidA}/retire`], `access-token key ${kidA}  retired\n`]);
});

test("key revoke says from when copies of the key set know", async () => {
  const at = "2026-11-24T14:01:00.000Z";
  const answer = {
    key: key(kidA, "revoked"),
    keys: [],
    gateways,
    forgotten_at: at,
    signing: key(kidB, "active"),
    signing_known_at: at,
  };
  const { asked, out } = await run(keyRevoke, ["access-token", kidA], answer);
  expect(asked).toEqual([`POST /v1/keys/access-token/${kidA}/revoke`]);
  expect(out).toBe(`access-token key ${kidA}  revoked
  refused    now, wherever Wayleave is asked; kept key sets forget it by 14:01:00 UTC
  signing    ${kidB}, known to them by 14:01:00 UTC
  gateway    sidecar-1 (envoy) keeps them 60 s
`);
});

test("key revoke says so where nothing signs any more", async () => {
  const answer = { key: key(kidA, "revoked"), keys: [], gateways: [], forgotten_at: "2026-11-24T14:01:00.000Z" };
  expect((await run(keyRevoke, ["access-token", kidA], answer)).out).toContain("nothing is minted");
});

const rotate = (args: readonly string[], body: unknown, options: object = {}) =>
  run(keyRotate, args, body, { because: "quarterly", ...options });

test("key rotate prepares, waits until everybody knows the key, activates, and says what it waits for", async () => {
  const usable_at = "2026-11-24T14:02:09.400Z";
  const keys = [key(kidA, "retiring", { last_token_expires_at: "2026-11-24T14:07:10.000Z" })];
  const { asked, out } = await rotate(["access-token"], { key: key(kidB, "prepared", { usable_at }), keys, gateways });
  expect(asked).toEqual(["POST /v1/keys/access-token/prepare", "POST /v1/keys/access-token/activate"]);
  expect(out).toContain(`published  it does not sign yet: gateways that keep key sets must learn it first
  signs      from 14:02:10 UTC, when the slowest has asked again
  gateway    sidecar-1 (envoy) keeps them 60 s
`);
  expect(out).toContain(`before it  ${kidA} retires by itself at 14:07:10 UTC`);
});

test("key rotate --prepare-only waits for nothing, and goes on when it is run again", async () => {
  const prepared = key(kidB, "prepared", { usable_at: "2026-11-24T14:02:09.400Z" });
  const first = await rotate(["access-token"], { key: prepared, keys: [], gateways: [] }, { prepareOnly: true });
  expect(first.asked).toEqual(["POST /v1/keys/access-token/prepare"]);
  expect(first.out).toContain("next       after that: run this command again");
  const usable = key(kidB, "prepared", { usable_at: "2026-11-24T13:59:00.000Z" });
  const again = await rotate(["access-token"], { key: usable, keys: [], gateways: [] }, { prepareOnly: true });
  expect(again.asked).toHaveLength(2);
});

test("key rotate --emergency revokes what signs, and waits for nothing", async () => {
  const at = "2026-11-24T14:01:00.000Z";
  const body = {
    key: key(kidA, "revoked"),
    keys: [key(kidB, "prepared"), key(kidA, "active"), { ...key(kidB, "active"), class: "assertion" }],
    gateways,
    forgotten_at: at,
    signing: key(kidB, "active"),
    signing_known_at: at,
  };
  const { asked, out } = await rotate(["access-token"], body, { emergency: true });
  expect(asked).toEqual(["GET /v1/keys", `POST /v1/keys/access-token/${kidA}/revoke`]);
  expect(out).toContain("refused    now, wherever Wayleave is asked");
  expect(out).toContain(`signing    ${kidB}`);
});

test.each([{ because: undefined }, { because: "" }, { because: "  " }])(
  "key rotate without a reason does nothing: %j",
  async (options) => {
    await expect(rotate(["access-token"], {}, options)).rejects.toMatchObject({ code: "invalid_request" });
  },
);

test("key rotate --emergency refuses where nothing signs", async () => {
  const answer = rotate(["access-token"], { keys: [key(kidA, "revoked")], gateways }, { emergency: true });
  await expect(answer).rejects.toMatchObject({ code: "key_not_found" });
});

test("key list is a table of what is published or revoked, within the width of a terminal", async () => {
  const keys = [
    key("a".repeat(43), "retired"),
    key(kidA, "retiring", { last_token_expires_at: "2026-11-25T14:05:00.000Z" }),
    key(kidB, "prepared", { usable_at: "2026-11-24T14:02:10.000Z" }),
    key("b".repeat(43), "active"),
  ];
  const { asked, out } = await run(keyList, [], { keys, gateways });
  expect(asked).toEqual(["GET /v1/keys"]);
  const lines = out.split("\n");
  expect(lines.filter((line) => line.length > 100)).toEqual([]);
  expect(out).not.toContain("aaaa");
  expect(lines[1]).toMatch(new RegExp(`^access-token {2}retiring {2}until 2026-11-25 14:05:00 {2}${kidA}`));
  expect(lines[2]).toContain(`from 14:02:10`);
  expect((await run(keyList, [], { keys, gateways }, { all: true })).out).toContain("aaaa");
});

test.each([
  { command: keyPrepare, args: ["access-token"] },
  { command: keyActivate, args: ["access-token"] },
  { command: keyRetire, args: ["access-token", kidA] },
  { command: keyRevoke, args: ["access-token", kidA] },
  { command: keyList, args: [] },
])("$command.path --json prints what the broker says", async ({ command, args }) => {
  const body = {
    key: key(kidA, "active"),
    keys: [key(kidA, "active")],
    gateways,
    forgotten_at: "2026-11-24T14:01:00.000Z",
  };
  const { status, out } = await run(command, args, body, { json: true });
  expect(status).toBe(0);
  expect(body).toMatchObject(JSON.parse(out));
});

test("a name with a slash stays one segment of the path", async () => {
  const { asked } = await run(keyRetire, ["access-token", "../../x"], {
    key: key(kidA, "retired"),
    keys: [],
    gateways,
  });
  expect(asked).toEqual(["POST /v1/keys/access-token/..%2F..%2Fx/retire"]);
});

test.each([
  ["2026-11-24T14:02:10.000Z", "14:02:10 UTC"],
  ["2026-11-24T14:02:10.001Z", "14:02:11 UTC"],
  ["2026-11-25T00:00:00.000Z", "2026-11-25 00:00:00 UTC"],
  [undefined, ""],
])("%s reads %s", (iso, text) => {
  expect(clockTime(iso, now)).toBe(text);
});
