import { execFile } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type FakeBroker, fakeBroker, fakeSession } from "./job/broker.fake.ts";

const script = fileURLToPath(new URL("../../packaging/client/wayleave.sh", import.meta.url));

const onPath = (name: string): boolean =>
  (process.env.PATH ?? "").split(delimiter).some((folder) => existsSync(join(folder, name)));

/** Every POSIX shell this machine has. `sh` is always there. */
const shells = [["sh"], ["dash"], ["busybox", "sh"], ["bash", "--posix"]].filter(([name = ""]) => onPath(name));

let broker: FakeBroker;
let folder: string;
const closing: (() => Promise<void>)[] = [];

beforeEach(async () => {
  broker = await fakeBroker();
  folder = mkdtempSync(join(tmpdir(), "wayleave-sh-"));
  mkdirSync(join(folder, "run"));
  mkdirSync(join(folder, "bin"));
  // Retries wait for seconds; tests do not.
  writeFileSync(join(folder, "bin", "sleep"), "#!/bin/sh\ncommand -p sleep 0.02\n");
  chmodSync(join(folder, "bin", "sleep"), 0o755);
});
afterEach(async () => {
  await Promise.all([broker.close(), ...closing.splice(0).map((close) => close())]);
});

interface Done {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

function client(
  shell: readonly string[],
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Done> {
  const [program = "sh", ...flags] = shell;
  const options = {
    env: {
      PATH: `${join(folder, "bin")}${delimiter}${process.env.PATH}`,
      XDG_RUNTIME_DIR: join(folder, "run"),
      CI_SERVER_URL: "https://gitlab.example/root",
      CI_JOB_ID: "7712",
      WAYLEAVE_URL: broker.url,
      WAYLEAVE_ID_TOKEN: "e30.e30.subject",
      ...env,
    },
  };
  return new Promise((resolve) => {
    execFile(program, [...flags, script, ...args], options, (error, out, err) => {
      resolve({ status: typeof error?.code === "number" ? error.code : 0, out, err });
    });
  });
}

const exchanges = () => broker.seen.filter(({ form }) => form.get("subject_token") !== null);

function sessionFolder(): string {
  const base = join(folder, "run", readdirSync(join(folder, "run"))[0] ?? "");
  return join(base, readdirSync(base)[0] ?? "");
}

test("there is a shell to test with", () => {
  expect(shells.length).toBeGreaterThan(0);
});

describe.each(shells.map((shell) => ({ name: shell.join(" "), shell })))("under $name, the client", ({ shell }) => {
  test("opens the session once and says so", async () => {
    const first = await client(shell, ["exchange", "billing"]);
    const second = await client(shell, ["exchange", "billing"]);
    const line = `wayleave: session ${fakeSession} opened  job #7712  roles read-billing, release  until 10:30Z\n`;
    expect([first.status, first.err, first.out]).toEqual([0, line, ""]);
    expect(second.err).toBe(`wayleave: session ${fakeSession} is open already\n`);
    expect(exchanges().map(({ form }) => [form.get("subject_token"), form.getAll("audience")])).toEqual([
      ["e30.e30.subject", ["billing"]],
    ]);
  });

  test("hands on the runner's own SVID, where the runner left one", async () => {
    await client(shell, ["exchange"], { WAYLEAVE_RUNNER_SVID: "e30.e30.runner" });
    expect(exchanges().map(({ form }) => [form.get("client_assertion_type"), form.get("client_assertion")])).toEqual([
      ["urn:ietf:params:oauth:client-assertion-type:jwt-spiffe", "e30.e30.runner"],
    ]);
  });

  test("keeps everything mode 0600 in folders of mode 0700, and prints no token", async () => {
    const done = await client(shell, ["token"]);
    const path = done.out.trim();
    const token = readFileSync(path, "utf8").trim();
    expect(token).toMatch(/^eyJ.*signature1$/);
    expect(done.err).not.toContain(token);
    const files = readdirSync(sessionFolder());
    expect(files).toEqual(expect.arrayContaining(["session", "token"]));
    for (const name of files) expect(lstatSync(join(sessionFolder(), name)).mode & 0o777).toBe(0o600);
    expect(lstatSync(sessionFolder()).mode & 0o777).toBe(0o700);
  });

  test("uses a token while it is fresh, and refreshes it when it is not", async () => {
    broker.tokenSeconds = 300;
    await client(shell, ["token"]);
    await client(shell, ["token"]);
    expect(broker.count("/oauth2/token")).toBe(1);
    writeFileSync(join(sessionFolder(), "fresh"), "0 \n");
    const done = await client(shell, ["token"]);
    expect(readFileSync(done.out.trim(), "utf8")).toContain("signature2");
    expect(broker.seen.at(-1)?.form.get("refresh_token")).toBe("wlr_0");
    expect(exchanges()).toHaveLength(1);
  });

  test("retries a lost answer with the same Idempotency-Key", async () => {
    broker.loseAnswers("/oauth2/token", 2);
    const done = await client(shell, ["exchange"]);
    expect(done.status).toBe(0);
    expect(done.err).toContain("wayleave: no answer from the broker (retrying, 3 of 5)\n");
    const keys = exchanges().map(({ headers }) => headers["idempotency-key"]);
    expect([keys.length, new Set(keys).size]).toEqual([3, 1]);
    expect(keys[0]).toMatch(/^[0-9a-f]{48}$/);
  });

  test("gives up after five tries with the exit status of an outage, leaving no token behind", async () => {
    broker.loseAnswers("/oauth2/token", 99);
    const done = await client(shell, ["exchange"]);
    expect([done.status, exchanges().length]).toEqual([5, 5]);
    expect(done.err).toMatch(/no answer {2}broker_unreachable/);
    expect(readdirSync(sessionFolder())).not.toContain("form");
  });

  test("passes a refusal on, with code and reason, as exit status 3", async () => {
    broker.refuse("/oauth2/token", 400, "no_role", "No role is for acme/shop.");
    const done = await client(shell, ["exchange"]);
    expect([done.status, done.err]).toEqual([3, "wayleave: refused  no_role: No role is for acme/shop.\n"]);
    expect(exchanges()).toHaveLength(1);
  });

  test("calls with the token, and says why a gateway refused", async () => {
    const gateway = await fakeGateway();
    const got = await client(shell, ["get", `${gateway.url}/v1/health`, "-d", "x=1"]);
    expect([got.status, got.out]).toEqual([0, "fine"]);
    const posted = await client(shell, ["request", `${gateway.url}/v1/releases`, "-X", "POST", "--data", "body"]);
    expect(posted.err).toContain("wayleave: denied  condition_failed  rec_00000000000a\n");
    expect(gateway.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      "GET /v1/health?x=1",
      "POST /v1/releases",
    ]);
    for (const { headers } of gateway.requests) expect(headers.authorization).toMatch(/^Bearer eyJ.*signature1$/);
    expect(exchanges()).toHaveLength(1);
  });

  test("ends the session, and says so when there is none", async () => {
    await client(shell, ["exchange"]);
    const done = await client(shell, ["end"]);
    expect([done.status, done.err, broker.ended]).toEqual([0, `wayleave: session ${fakeSession} ended\n`, true]);
    expect(readdirSync(sessionFolder())).toEqual([]);
    expect(await client(shell, ["end"])).toMatchObject({
      status: 0,
      err: "wayleave: this job has no session to end\n",
    });
  });

  test("ends a session that is over already without complaint", async () => {
    await client(shell, ["exchange"]);
    broker.ended = true;
    const done = await client(shell, ["end"]);
    expect([done.status, done.err]).toEqual([0, `wayleave: session ${fakeSession} was over already (session_ended)\n`]);
  });

  test("parallel first commands exchange once", async () => {
    const done = await Promise.all([1, 2, 3].map(() => client(shell, ["token"])));
    expect(done.map(({ status }) => status)).toEqual([0, 0, 0]);
    expect(exchanges()).toHaveLength(1);
  });

  test("finds the broker in the token's audience", async () => {
    const payload = Buffer.from(JSON.stringify({ aud: broker.url, sub: "?>~" })).toString("base64url");
    const done = await client(shell, ["exchange"], { WAYLEAVE_URL: "", WAYLEAVE_ID_TOKEN: `e30.${payload}.sig` });
    expect([done.status, exchanges().length]).toEqual([0, 1]);
  });

  test.each<{ what: string; args: readonly string[]; env: Readonly<Record<string, string>>; says: string }>([
    {
      what: "no identity token",
      args: ["exchange"],
      env: { WAYLEAVE_ID_TOKEN: "" },
      says: "WAYLEAVE_ID_TOKEN is not set",
    },
    { what: "no job", args: ["exchange"], env: { CI_JOB_ID: "" }, says: "Run this inside a CI job" },
    {
      what: "a broker over plain HTTP",
      args: ["exchange"],
      env: { WAYLEAVE_URL: "http://broker.example" },
      says: "https address",
    },
    {
      what: "an upstream over plain HTTP",
      args: ["get", "http://billing.internal/"],
      env: {},
      says: "not sent over plain HTTP",
    },
    { what: "get without a URL", args: ["get"], env: {}, says: "get needs a URL" },
    { what: "an unknown command", args: ["exec"], env: {}, says: "sh wayleave.sh exchange" },
  ])("refuses $what with exit status 2", async ({ args, env, says }) => {
    const done = await client(shell, args, env);
    expect(done.status).toBe(2);
    expect(done.err).toContain(says);
    expect(broker.seen).toEqual([]);
  });

  test("refuses a folder that somebody prepared", async () => {
    const elsewhere = join(folder, "elsewhere");
    mkdirSync(elsewhere);
    symlinkSync(elsewhere, join(folder, "run", `wayleave-sh-${process.getuid?.()}`));
    const done = await client(shell, ["exchange"]);
    expect([done.status, readdirSync(elsewhere)]).toEqual([2, []]);
  });
});

async function fakeGateway() {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    request.resume();
    if (request.method === "GET") response.end("fine");
    else
      response
        .writeHead(403, { "X-Wayleave-Record": "rec_00000000000a", "X-Wayleave-Reason": "condition_failed" })
        .end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => new Promise((resolve) => server.close(() => resolve())));
  return { requests, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}
