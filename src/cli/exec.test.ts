import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Input } from "./command.ts";
import { end } from "./end.ts";
import { runExec } from "./exec.ts";
import { exchangesOf, handleFolder, jobIo, run, within } from "./exec-harness.fake.ts";
import { type FakeBroker, fakeBroker, fakeSession } from "./job/broker.fake.ts";
import { type FakeIo, fakeIo } from "./job/command-io.fake.ts";
import { runCommand } from "./job/run-command.ts";
import { runCli } from "./program.ts";

let broker: FakeBroker;

beforeEach(async () => {
  broker = await fakeBroker();
});
afterEach(async () => {
  await broker.close();
});

const exchanges = () => exchangesOf(broker);

const sh = (script: string): readonly string[] => ["sh", "-c", script];

/** Id of a process that has just ended. */
const deadProcess = (): number => spawnSync("true").pid;

describe("one job, one session", () => {
  test("two commands in a row exchange once", async () => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    await run(io, ["true"]);
    expect(exchanges()).toHaveLength(1);
    expect(io.err()).toMatch(
      new RegExp(
        `session ${fakeSession} opened {2}acme/shop release #7712 {2}roles read-billing, release {2}until 10:30Z\\n`,
      ),
    );
    expect(io.err()).toContain(`session ${fakeSession} joined`);
  });

  test("the runner's own SVID goes with the exchange, where the runner left one", async () => {
    const io = jobIo(broker, { WAYLEAVE_RUNNER_SVID: "e30.e30.runner" });
    await run(io, ["true"]);
    expect(exchanges()[0]?.form.get("client_assertion")).toBe("e30.e30.runner");
  });

  test("four commands at once exchange once", async () => {
    const io = jobIo(broker);
    await Promise.all([1, 2, 3, 4].map(() => run(io, ["true"])));
    expect(exchanges()).toHaveLength(1);
    expect(io.err().match(/joined/g)).toHaveLength(3);
  });

  test("another job on the same machine has its own", async () => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    const other = jobIo(broker, { CI_JOB_ID: "7713" }, io.cwd);
    await expect(run(other, ["true"])).rejects.toMatchObject({ code: "subject_token_replayed" });
  });

  test("a command releases its lease and does not end the session", async () => {
    await run(jobIo(broker), ["true"]);
    expect(broker.count("/v1/session/release")).toBe(1);
    expect(broker.ended).toBe(false);
    const [lease, release] = ["lease", "release"].map(
      (name) => broker.seen.find(({ path }) => path === `/v1/session/${name}`)?.body,
    );
    expect(lease).toBe(release);
  });

  test("a session that fell silent is woken by the next command's heartbeat", async () => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    broker.suspended = true;
    expect(await run(io, ["true"])).toBe(0);
    expect(exchanges()).toHaveLength(1);
  });

  test("a session that is over lets no command start: exit status 3", async () => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    broker.ended = true;
    expect(await runCli(["exec", "--", "touch", join(io.cwd, "started")], io)).toBe(3);
    expect(existsSync(join(io.cwd, "started"))).toBe(false);
    expect(io.err()).toContain("wayleave: refused  session_ended\n");
  });

  test("a session that the broker lost is opened anew", async () => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    const handle = join(handleFolder(io), "session.json");
    const before = broker.url;
    await broker.close();
    broker = await fakeBroker();
    writeFileSync(handle, readFileSync(handle, "utf8").replace(before, broker.url).replace("wlr_0", "wlr_lost"));
    expect([await run(jobIo(broker, {}, io.cwd), ["true"]), exchanges().length]).toEqual([0, 1]);
  });

  test("--end ends it, and `wayleave end` afterwards says so and succeeds", async () => {
    const io = jobIo(broker);
    await run(io, ["true"], { end: true });
    expect(broker.ended).toBe(true);
    expect(await end.run(io, new Input([], {}))).toBe(0);
    expect(io.err()).toContain(`session ${fakeSession} was over already`);
  });

  test("`wayleave end` ends it by the handle alone", async () => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    const after = fakeIo({}, io.cwd);
    expect(await end.run(after, new Input([], {}))).toBe(0);
    expect([broker.ended, after.err()]).toEqual([true, `wayleave: session ${fakeSession} ended\n`]);
    expect(readFileSync(join(handleFolder(io), "session.json"), "utf8")).not.toMatch(/refresh|"d"/);
  });

  test("`wayleave end` in a job without a session succeeds and says so", async () => {
    const io = jobIo(broker);
    expect(await end.run(io, new Input([], {}))).toBe(0);
    expect(io.err()).toBe("wayleave: this job has no session to end\n");
  });
});

describe("an exchange whose answer is lost", () => {
  test("is tried again with the same key and Idempotency-Key, and a fresh proof", async () => {
    broker.loseAnswers("/oauth2/token", 2);
    const io = jobIo(broker);
    expect(await run(io, ["true"])).toBe(0);
    const tried = exchanges();
    expect(tried).toHaveLength(3);
    expect(new Set(tried.map(({ headers }) => headers["idempotency-key"])).size).toBe(1);
    expect(new Set(tried.map(({ jkt }) => jkt)).size).toBe(1);
    expect(new Set(tried.map(({ headers }) => headers.dpop)).size).toBe(3);
    expect(io.err()).toContain("no answer from the broker (retrying, 3 of 5)\n");
  });

  test("five times over is an outage: exit status 5, and the command never starts", async () => {
    broker.loseAnswers("/oauth2/token", 99);
    const io = jobIo(broker);
    const status = await runCli(["exec", "--", "touch", join(io.cwd, "started")], io);
    expect([status, exchanges().length, existsSync(join(io.cwd, "started"))]).toEqual([5, 5, false]);
    expect(io.err()).toMatch(/wayleave: no answer {2}broker_unreachable\n/);
  });
});

describe("refused before the command starts:", () => {
  test("what the broker refuses is exit status 3, with its code and words, and is not retried", async () => {
    broker.refuse("/oauth2/token", 400, "no_role", "No role is for acme/shop.");
    const io = jobIo(broker);
    expect(await runCli(["exec", "--", "true"], io)).toBe(3);
    expect(io.err()).toBe("wayleave: refused  no_role\n  why        No role is for acme/shop.\n");
    expect(exchanges()).toHaveLength(1);
  });

  test.each<{ what: string; env: Readonly<Record<string, string>>; argv: readonly string[]; says: RegExp }>([
    { what: "no identity token", env: { WAYLEAVE_ID_TOKEN: "" }, argv: [], says: /WAYLEAVE_ID_TOKEN is not set/ },
    { what: "no broker address", env: { WAYLEAVE_ID_TOKEN: "e30.e30.sig" }, argv: [], says: /set WAYLEAVE_URL/ },
    { what: "no CI job", env: { CI_JOB_ID: "" }, argv: [], says: /not look like a CI job/ },
    { what: "a target that is no word", env: {}, argv: ["--target", "a b"], says: /is not understood/ },
    {
      what: "a gateway over plain HTTP",
      env: {},
      argv: ["--target", "billing=http://edge.example"],
      says: /must be https/,
    },
    {
      what: "a gateway address with a path",
      env: {},
      argv: ["--target", "billing=https://edge.example/x"],
      says: /nothing more/,
    },
    { what: "--env under a debug trace", env: { CI_DEBUG_TRACE: "true" }, argv: ["--env"], says: /CI_DEBUG_TRACE/ },
    { what: "an unknown option", env: {}, argv: ["--tarject"], says: /unknown option/ },
    { what: "a CA file that is missing", env: {}, argv: ["--ca-file", "/nowhere.pem"], says: /cannot be read/ },
  ])("$what is exit status 2", async ({ env, argv, says }) => {
    const io = jobIo(broker, env);
    expect(await runCli(["exec", ...argv, "--", "touch", join(io.cwd, "started")], io)).toBe(2);
    expect(io.err()).toMatch(says);
    expect(existsSync(join(io.cwd, "started"))).toBe(false);
  });
});

describe("the command's end is our end", () => {
  test.each([
    { script: "exit 0", status: 0 },
    { script: "exit 42", status: 42 },
    { script: "kill -TERM $$", status: 143 },
    { script: "kill -KILL $$", status: 137 },
  ])("$script -> $status", async ({ script, status }) => {
    expect(await run(jobIo(broker), sh(script))).toBe(status);
  });

  test("a signal to us reaches the command", async () => {
    const io = jobIo(broker);
    const running = runExec(
      io,
      new Input(sh('trap "exit 7" USR2; : > ready; while :; do sleep 0.01; done'), {}),
      async (words, env) => {
        const ended = runCommand(words, env, io.cwd);
        while (!existsSync(join(io.cwd, "ready"))) await new Promise(setImmediate);
        process.kill(process.pid, "SIGUSR2");
        return ended;
      },
    );
    expect(await running).toBe(7);
  });

  test("a command that does not exist is said, and releases its lease", async () => {
    const io = jobIo(broker);
    expect(await runCli(["exec", "--", "no-such-command"], io)).toBe(2);
    expect(io.err()).toContain('The command "no-such-command" was not found');
    expect(broker.count("/v1/session/release")).toBe(1);
  });
});

describe("the handle", () => {
  test("is mode 0600 in a folder of mode 0700, and the token file goes with the command", async () => {
    const io = jobIo(broker);
    let tokenFile = "";
    await within(io, {}, async (env) => {
      tokenFile = env.WAYLEAVE_TOKEN_FILE ?? "";
      expect(readFileSync(tokenFile, "utf8")).toMatch(/^eyJ/);
      expect([lstatSync(tokenFile).mode & 0o777, env.WAYLEAVE_TOKEN]).toEqual([0o600, undefined]);
    });
    const folder = handleFolder(io);
    expect(lstatSync(join(folder, "session.json")).mode & 0o777).toBe(0o600);
    expect(lstatSync(folder).mode & 0o777).toBe(0o700);
    expect(existsSync(tokenFile)).toBe(false);
  });

  test.each<{ what: string; spoil: (file: string) => void; says: RegExp }>([
    { what: "that others can read", spoil: (file) => chmodSync(file, 0o644), says: /can be opened by other users/ },
    { what: "that is damaged", spoil: (file) => writeFileSync(file, "{"), says: /is damaged/ },
    {
      what: "behind a symbolic link",
      spoil: (file) => {
        renameSync(file, `${file}.real`);
        symlinkSync(`${file}.real`, file);
      },
      says: /is a symbolic link/,
    },
  ])("$what is refused", async ({ spoil, says }) => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    spoil(join(handleFolder(io), "session.json"));
    await expect(run(io, ["true"])).rejects.toThrow(says);
  });

  test.each<{ what: string; lock: () => string }>([
    { what: "of a command that was killed", lock: () => JSON.stringify({ pid: deadProcess(), host: hostname() }) },
    { what: "of a command elsewhere, silent for minutes", lock: () => JSON.stringify({ pid: 1, host: "elsewhere" }) },
  ])("does not wait for the lock $what", async ({ lock }) => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    const file = join(handleFolder(io), "lock");
    writeFileSync(file, lock(), { mode: 0o600 });
    if (lock().includes("elsewhere")) utimesSync(file, 0, 0);
    expect(await run(io, ["true"])).toBe(0);
  });

  test("waits for the lock of a command that lives", async () => {
    const io = jobIo(broker);
    await run(io, ["true"]);
    const file = join(handleFolder(io), "lock");
    writeFileSync(file, JSON.stringify({ pid: process.pid, host: hostname() }), { mode: 0o600 });
    let waited = 0;
    const pause: FakeIo["pause"] = async (ms, signal) => {
      if (signal === undefined) waited += 1;
      if (waited === 3) rmSync(file, { force: true });
      await io.pause(ms, signal);
    };
    await run({ ...io, pause }, ["true"]);
    expect(waited).toBe(3);
  });

  test("never lies inside the project, whose files may become artifacts", async () => {
    const io = jobIo(broker);
    const project = join(io.cwd, "project");
    mkdirSync(join(project, "run"), { recursive: true, mode: 0o700 });
    const inside = jobIo(
      broker,
      { XDG_RUNTIME_DIR: join(project, "run"), CI_PROJECT_DIR: project, TMPDIR: io.cwd },
      io.cwd,
    );
    await run(inside, ["true"]);
    expect(readdirSync(join(project, "run"))).toEqual([]);
  });
});
