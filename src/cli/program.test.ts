import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { AuditRecord } from "../core/record.ts";
import { recordLine } from "./audit-filter.ts";
import { allCommands, commandsFor, nouns } from "./commands.ts";
import { fakeIo } from "./job/command-io.fake.ts";
import { runCli } from "./program.ts";
import { lineWidth } from "./terminal.ts";

const commands = await allCommands();

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});

async function typed(...argv: readonly string[]) {
  const io = fakeIo();
  const status = await runCli(argv, io);
  return { status, out: io.out(), err: io.err() };
}

describe("help", () => {
  test.each(commands.map((command) => ({ name: command.path.join(" "), command })))(
    "of $name has an example and exit statuses, and wraps nowhere",
    async ({ command }) => {
      const { status, out } = await typed(...command.path, "--help");
      expect(status).toBe(0);
      expect(command.examples.length).toBeGreaterThan(0);
      for (const example of command.examples) {
        expect(out).toContain(`  wayleave ${example}\n`);
        expect(example.startsWith(command.path.join(" "))).toBe(true);
      }
      expect(out).toContain("Exit status: 0 done");
      expect(out.split("\n").filter((line) => line.length > lineWidth)).toEqual([]);
    },
  );

  test("of the program lists every command and noun, one summary line each", async () => {
    const { out } = await typed("--help");
    for (const { path, summary } of commands) if (path.length === 1) expect(out).toContain(`${summary}\n`);
    for (const [noun, about] of Object.entries(nouns)) expect(out).toMatch(new RegExp(`  ${noun} +${about}\n`));
  });

  test("says every noun that a command has", () => {
    const used = commands.flatMap(({ path }) => (path.length > 1 ? [path[0]] : []));
    expect([...new Set(used)].toSorted()).toEqual(Object.keys(nouns).toSorted());
  });

  test("holds no environment, time or path of this machine", async () => {
    const all = await Promise.all(commands.map(({ path }) => typed(...path, "--help")));
    expect(all.map(({ out }) => out).join("")).not.toMatch(/\/home\/|\/root\/|\d{2}:\d{2}:\d{2}\.\d/);
  });
});

describe("wrong usage is exit status 2:", () => {
  test.each<{ argv: readonly string[]; says: RegExp }>([
    { argv: ["exce"], says: /unknown command 'exce'/ },
    { argv: ["exec", "--target"], says: /argument missing/ },
    { argv: ["exec"], says: /missing required argument/ },
    { argv: ["policy", "chek"], says: /unknown command 'chek'/ },
    { argv: ["session", "show"], says: /missing required argument 'session'/ },
    { argv: ["session", "list", "more"], says: /too many arguments/ },
    { argv: ["init", "--yes"], says: /init needs --project and --upstream/ },
    { argv: ["init", "--yes", "--project", "shop", "--upstream", "b.internal"], says: /no project path/ },
    {
      argv: ["config", "check", "--config", "/nowhere/wayleave.yaml"],
      says: /\/nowhere\/wayleave.yaml does not exist/,
    },
    { argv: ["token", "--stdout", "--nope"], says: /unknown option/ },
  ])("$argv", async ({ argv, says }) => {
    const { status, err } = await typed(...argv);
    expect(err).toMatch(says);
    expect(status).toBe(2);
  });
});

test("--version prints the package's version", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  expect(await typed("--version")).toEqual({ status: 0, out: `${version}\n`, err: "" });
});

const session = {
  id: "ses_0123456789abcdef",
  state: "ended",
  end_reason: "job_finished",
  ended_at: "2026-11-24T09:31:40.902Z",
  opened_at: "2026-11-24T09:30:12.114Z",
  expires_at: "2026-11-24T10:30:12.000Z",
  lease: "released",
  roles: ["read-billing"],
  identity: {
    issuer: "gitlab",
    fork: "no",
    project: { id: "1042", path: "acme/shop" },
    pipelineId: "900",
    job: { id: "7712", name: "rel\u001b[2Jease" },
  },
};
const record = {
  v: 1,
  id: "rec_00000000000a",
  seq: 10,
  time: "2026-11-24T09:30:13.020Z",
  kind: "decision",
  job: { project: "acme/shop", job_id: "7712" },
  data: {
    gateway: "edge-1",
    target: "billing",
    operation: "POST /v1/releases",
    effect: "deny",
    outcome: "deny",
    reason: "condition_failed",
    policy: "41c0",
  },
};

/** A broker's operator socket with canned answers; gives the configuration file to point at it. */
async function operatorSocket() {
  const folder = mkdtempSync(join(tmpdir(), "wl-"));
  const seen: string[] = [];
  const server = createServer(async (request, response) => {
    seen.push(`${request.method} ${request.url} ${await bodyOf(request)}`.trim());
    const [path = ""] = (request.url ?? "").split("?");
    const answers: Readonly<Record<string, unknown>> = {
      "/v1/sessions": { sessions: [session] },
      "/v1/sessions/7712": session,
      "/v1/sessions/7712/end": session,
      "/v1/records": { records: [record] },
      "/v1/records/rec_00000000000a": record,
      "/v1/records/rec_00000000000a/explain": {
        record: record.id,
        title: "denied  POST billing /v1/releases",
        lines: [{ label: "failed", text: "change.merged is false" }],
        source: record,
      },
    };
    if (path === "/v1/records/stream")
      return void response.end(`${JSON.stringify(record)}\n${JSON.stringify(record)}\n`);
    const answer = answers[path];
    response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer ?? { code: "record_not_found", detail: "No such record." }));
  });
  await new Promise<void>((resolve) => server.listen(join(folder, "admin.sock"), resolve));
  closing.push(() => new Promise((resolve) => server.close(() => resolve())));
  const config = join(folder, "wayleave.yaml");
  writeFileSync(config, "data: .\n");
  return { config, seen };
}

test("a record on a terminal is one line that never wraps", () => {
  const io = fakeIo();
  const terminal = { env: { NO_COLOR: "1" }, stdout: { ...io.stdout, isTTY: true } };
  const line = recordLine(terminal, record as unknown as AuditRecord);
  expect([line.length, line.endsWith("…\n")]).toEqual([lineWidth + 1, true]);
  expect(recordLine({ ...terminal, env: {} }, record as unknown as AuditRecord)).toContain("\u001b[31m");
});

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += chunk;
  return body;
}

describe("an operator's command", () => {
  test.each<{ argv: readonly string[]; asked: string; out: RegExp; err?: string }>([
    {
      argv: ["session", "list", "--state", "ended"],
      asked: "GET /v1/sessions?state=ended",
      out: /^session .*\nses_0123456789abcdef {2}job_finished .*acme\/shop/,
    },
    {
      argv: ["session", "show", "7712"],
      asked: "GET /v1/sessions/7712",
      out: /^session ses_0123456789abcdef {2}ended \(job finished\)\n {2}job/,
    },
    {
      argv: ["session", "end", "7712", "--because", "leak"],
      asked: 'POST /v1/sessions/7712/end {"because":"leak"}',
      out: /ended/,
    },
    {
      argv: ["audit", "list", "--effect", "deny", "--limit", "5"],
      asked: "GET /v1/records?effect=deny&limit=5&brief=true",
      out: /^2026-11-24T09:30:13.020Z {2}rec_00000000000a {2}deny {8}POST billing \/v1\/releases {2}condition_failed {2}acme\/shop #7712\n$/,
    },
    {
      argv: ["audit", "tail", "--job", "7712"],
      asked: "GET /v1/records/stream?job=7712",
      out: /(.*rec_00000000000a.*\n){2}/,
      err: "wayleave: waiting for records, until Ctrl-C\n",
    },
    { argv: ["audit", "show", "rec_00000000000a"], asked: "GET /v1/records/rec_00000000000a", out: /"seq": 10/ },
    {
      argv: ["explain", "rec_00000000000a"],
      asked: "GET /v1/records/rec_00000000000a/explain",
      out: /^denied {2}POST billing \/v1\/releases +rec_00000000000a\n {2}failed {5}change.merged is false\n$/,
    },
  ])("$argv asks the socket of the configuration", async ({ argv, asked, out, err = "" }) => {
    const { config, seen } = await operatorSocket();
    const done = await typed(...argv, "--config", config);
    expect([done.status, done.err, seen]).toEqual([0, err, [asked]]);
    expect(done.out).toMatch(out);
    expect(done.out).not.toContain("\u001b");
  });

  test.each([
    ["session", "list"],
    ["session", "show", "7712"],
    ["audit", "list"],
    ["explain", "rec_00000000000a"],
  ])("%s %s --json prints what the broker said", async (...argv) => {
    const { config } = await operatorSocket();
    const done = await typed(...argv, "--config", config, "--json");
    expect(JSON.stringify(JSON.parse(done.out))).toContain("7712");
  });

  test("finds no such record: exit status 4, and with --json the problem", async () => {
    const { config } = await operatorSocket();
    expect(await typed("audit", "show", "rec_00000000000b", "--config", config)).toEqual({
      status: 4,
      out: "",
      err: "wayleave: error  record_not_found\n  why        No such record.\n",
    });
    const json = await typed("explain", "rec_00000000000b", "--config", config, "--json");
    expect([json.status, JSON.parse(json.out)]).toMatchObject([4, { code: "record_not_found", status: 404 }]);
  });

  test("says that no broker runs: exit status 5", async () => {
    const folder = mkdtempSync(join(tmpdir(), "wl-"));
    writeFileSync(join(folder, "wayleave.yaml"), "data: .\n");
    const { status, err } = await typed("session", "list", "--config", join(folder, "wayleave.yaml"));
    expect(status).toBe(5);
    expect(err).toMatch(/no answer {2}broker_unreachable/);
    expect(err.replaceAll(/\s+/g, " ")).toContain("start the broker with `wayleave serve");
  });
});

test("a command line reads the one command it names, a noun's those of the noun, and anything else all", async () => {
  for (const { path } of commands) {
    const found = await commandsFor([...path, "--json"]);
    expect(found.map((command) => command.path)).toEqual([path]);
  }
  expect((await commandsFor(["policy"])).every(({ path }) => path[0] === "policy")).toBe(true);
  expect((await commandsFor(["policy", "chek"])).length).toBeGreaterThan(3);
  for (const argv of [[], ["--help"], ["polcy"], ["--json"], ["constructor"]]) {
    expect(await commandsFor(argv)).toHaveLength(commands.length);
  }
  expect(await commandsFor(["--version"])).toEqual([]);
});
