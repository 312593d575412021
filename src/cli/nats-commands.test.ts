import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { Input } from "./command.ts";
import { jobIo, within } from "./exec-harness.fake.ts";
import { type FakeBroker, fakeBroker, fakeCreds, fakePassword } from "./job/broker.fake.ts";
import { type FakeIo, fakeIo } from "./job/command-io.fake.ts";
import { natsCreds } from "./nats-creds.ts";
import { natsEnv, shellQuoted } from "./nats-env.ts";
import { optionsOf } from "./nats-gateway.ts";

let broker: FakeBroker;
beforeEach(async () => {
  broker = await fakeBroker();
});
afterEach(() => broker.close());

const env = (io: FakeIo, options: Readonly<Record<string, unknown>> = {}) => natsEnv.run(io, new Input([], options));
const creds = (io: FakeIo, options: Readonly<Record<string, unknown>> = {}) =>
  natsCreds.run(io, new Input([], options));
const refusal = (work: Promise<unknown>) =>
  work.then(
    () => "done",
    (error: unknown) =>
      error instanceof WayleaveError ? `${error.code}: ${error.message}` : `unexpected ${String(error)}`,
  );
const asked = () => JSON.parse(broker.seen.find(({ path }) => path === "/v1/session/nats")?.body ?? "null") as unknown;

describe("wayleave nats env", () => {
  test("prints what a shell takes, and nothing of it elsewhere", async () => {
    const io = jobIo(broker);
    expect(await env(io)).toBe(0);
    const told = execFileSync("sh", ["-c", `${io.out()}echo "$NATS_URL $NATS_USER $NATS_PASSWORD"`], {
      encoding: "utf8",
    });
    expect(told.trim()).toBe(`nats://127.0.0.1:4222 events ${fakePassword}`);
    expect(io.err()).not.toContain(fakePassword);
    expect(asked()).toEqual({ form: "password" });
  });

  test.each([
    ["dotenv", `NATS_URL=nats://127.0.0.1:4222\nNATS_USER=events\nNATS_PASSWORD=${fakePassword}\n`],
    ["url", `nats://events:${fakePassword}@127.0.0.1:4222\n`],
    [
      "json",
      `{\n  "NATS_URL": "nats://127.0.0.1:4222",\n  "NATS_USER": "events",\n  "NATS_PASSWORD": "${fakePassword}"\n}\n`,
    ],
  ])("prints %s", async (format, expected) => {
    const io = jobIo(broker);
    await env(io, { format, target: "events", gateway: "jobs" });
    expect(io.out()).toBe(expected);
    expect(asked()).toEqual({ form: "password", target: "events", gateway: "jobs" });
  });

  test("is refused for a format nobody knows, to a terminal, and where a trace would print it", async () => {
    expect(await refusal(env(jobIo(broker), { format: "yaml" }))).toContain("none of sh, dotenv, json, url");
    const terminal = jobIo(broker);
    const stdout = { ...terminal.stdout, isTTY: true };
    expect(await refusal(natsEnv.run({ ...terminal, stdout }, new Input([], {})))).toContain(
      "A terminal keeps what it shows",
    );
    expect(await refusal(env(jobIo(broker, { CI_DEBUG_TRACE: "true" })))).toContain("CI_DEBUG_TRACE is on");
    expect(broker.seen).toEqual([]);
  });

  test("hands on what the broker refuses with, and has the shell that evaluates it fail", async () => {
    const detail = "This job has several NATS targets: audit, events. Say which with --target.";
    broker.refuse("/v1/session/nats", 400, "invalid_target", detail);
    const io = jobIo(broker);
    expect(await refusal(env(io))).toBe(`invalid_target: ${detail}`);
    const { status, stdout } = spawnSync("sh", ["-ec", `eval "$(printf '%s' '${io.out()}')"; echo went on`]);
    expect({ status, said: String(stdout) }).toEqual({ status: 1, said: "" });
    const file = jobIo(broker);
    await refusal(env(file, { format: "dotenv" }));
    expect(file.out()).toBe("");
  });

  test("quotes for sh whatever there is", () => {
    for (const text of ["a b", "it's", "$(rm -rf /)", '"`\\', ""]) {
      expect(execFileSync("sh", ["-c", `printf %s ${shellQuoted(text)}`], { encoding: "utf8" })).toBe(text);
    }
  });
});

describe("wayleave nats creds", () => {
  test("writes the file for its owner alone, and prints where it is", async () => {
    const io = jobIo(broker);
    expect(await creds(io, { out: "job's.creds" })).toBe(0);
    const file = join(io.cwd, "job's.creds");
    expect(readFileSync(file, "utf8")).toBe(fakeCreds);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const told = execFileSync("sh", ["-c", `${io.out()}echo "$NATS_URL $NATS_CREDS"`], { encoding: "utf8" });
    expect(told.trim()).toBe(`nats://127.0.0.1:4222 ${file}`);
    expect(io.out() + io.err()).not.toContain("eyJ");
    expect(asked()).toEqual({ form: "creds" });
  });

  test("replaces an open file by a closed one", async () => {
    const io = jobIo(broker);
    const file = join(io.cwd, "job.creds");
    writeFileSync(file, "old", { mode: 0o644 });
    await creds(io, { out: file });
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  test("is refused in the project folder, unless that is asked for", async () => {
    const project = mkdtempSync(join(tmpdir(), "wayleave-project-"));
    const io = jobIo(broker, { CI_PROJECT_DIR: project });
    const out = join(project, "build", "job.creds");
    mkdirSync(join(project, "build"));
    expect(await refusal(creds(io, { out }))).toContain("lies in the project folder");
    expect(readdirSync(join(project, "build"))).toEqual([]);
    expect(broker.seen).toEqual([]);
    expect(io.out()).toBe("false\n");
    await creds(io, { out, inProject: true });
    expect(readFileSync(out, "utf8")).toBe(fakeCreds);
  });

  test("is refused without --out, and where nothing can be written; no half of it stays", async () => {
    const io = jobIo(broker);
    expect(await refusal(creds(io))).toContain("--out is missing");
    expect(await refusal(creds(io, { out: "nowhere/job.creds" }))).toContain("cannot be written (ENOENT)");
    mkdirSync(join(io.cwd, "folder"));
    expect(await refusal(creds(io, { out: "folder" }))).toContain("is a folder");
    expect(readdirSync(io.cwd).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});

describe("wayleave exec", () => {
  const nats = (name: string) => ({ name, kind: "nats", hosts: [] });

  test("puts the NATS variables of the one asked for into the command's environment, and nowhere else", async () => {
    broker.targets = [...broker.targets, nats("events"), nats("audit")];
    const io = jobIo(broker);
    await within(io, { target: ["events", "billing"] }, async (job) => {
      expect(job).toMatchObject({
        NATS_URL: "nats://127.0.0.1:4222",
        NATS_USER: "events",
        NATS_PASSWORD: fakePassword,
      });
      expect(job.WAYLEAVE_BILLING_URL).toBeDefined();
    });
    expect(io.out() + io.err()).not.toContain(fakePassword);
  });

  test("asks for none where no NATS target is named", async () => {
    broker.targets = [...broker.targets, nats("events")];
    await within(jobIo(broker), {}, async (job) => {
      expect(job).not.toHaveProperty("NATS_PASSWORD");
    });
    expect(broker.count("/v1/session/nats")).toBe(0);
  });

  test("is refused for two, for the variables can name one", async () => {
    broker.targets = [nats("events"), nats("audit")];
    const two = within(jobIo(broker), { target: ["events", "audit"] }, async () => undefined);
    expect(await refusal(two)).toContain("can name one target, and --target names events and audit");
  });
});

describe("wayleave nats-gateway", () => {
  const given = (options: Readonly<Record<string, unknown>>, more: Readonly<Record<string, string>> = {}) => {
    const io = fakeIo(more);
    writeFileSync(join(io.cwd, "jobs.secret"), "a-secret\n");
    writeFileSync(join(io.cwd, "tls.pem"), "PEM");
    const usual = { gateway: "jobs", broker: "http://127.0.0.1:8700/", secretFile: "jobs.secret" };
    return optionsOf(io, new Input([], { ...usual, ...options }));
  };

  test("needs a name, a secret and the broker, and takes the rest from there", async () => {
    expect(await given({})).toEqual({
      name: "jobs",
      secret: "a-secret",
      brokerUrl: "http://127.0.0.1:8700",
      ca: undefined,
    });
    expect((await given({ broker: undefined }, { WAYLEAVE_URL: "https://wl.acme" })).brokerUrl).toBe("https://wl.acme");
  });

  test("takes another place to listen, servers and a certificate", async () => {
    const options = {
      listen: "[::1]:4222",
      server: ["nats://n1:4222", "tls://n2:4223"],
      tlsCert: "tls.pem",
      tlsKey: "tls.pem",
    };
    expect(await given(options)).toMatchObject({
      listen: { host: "::1", port: 4222 },
      servers: [
        { host: "n1", port: 4222, tls: false },
        { host: "n2", port: 4223, tls: true },
      ],
      tls: { cert: "PEM", key: "PEM" },
    });
  });

  test.each([
    [{ gateway: undefined }, "--gateway is missing"],
    [{ secretFile: undefined }, "--secret-file is missing"],
    [{ secretFile: "none" }, "cannot be read (ENOENT)"],
    [{ broker: undefined }, "--broker is missing"],
    [{ broker: "http://wl.acme" }, "--broker must be an https URL"],
    [{ broker: "wl.acme" }, "--broker must be an https URL"],
    [{ listen: "4222" }, "is no host:port"],
    [{ listen: "127.0.0.1:99999" }, "is no host:port"],
    [{ server: ["n1:4222"] }, "is no nats://host:port or tls://host:port"],
    [{ tlsCert: "tls.pem" }, "--tls-key is missing"],
    [{ tlsCert: "none", tlsKey: "none" }, "cannot be read (ENOENT)"],
  ])("refuses %j", async (options, said) => {
    expect(await refusal(given(options))).toContain(said);
  });
});
