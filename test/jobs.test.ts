import { accessSync, constants, mkdtempSync, readFileSync, symlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { execRequests, run, startWayleave, wayleave } from "./job-process.ts";
import { type GitlabJob, type JobWorld, startJobWorld } from "./job-world.ts";

const read = "GET /v1/invoices/42";

let at: JobWorld;

beforeAll(async () => {
  at = await startJobWorld();
});
afterAll(async () => {
  await at?.close();
});

/** `ses_…` of the one line that every command prints about its session. */
function sessionOf(err: string, how: "opened" | "joined"): string | undefined {
  return new RegExp(`^wayleave: session (ses_\\w+) ${how} {2}`, "m").exec(err)?.[1];
}

/** The sessions that a job ever had. */
function sessionsOf({ job }: GitlabJob): readonly (string | undefined)[] {
  return at.records
    .of("session.opened")
    .filter((record) => record.job?.job_id === String(job.id))
    .map((record) => record.session);
}

describe("the commands of one job", () => {
  test("in a row share its session, which only `wayleave end` ends", async () => {
    const job = await at.startJob();
    const first = startWayleave(job.env, ...execRequests(at.edge));
    expect(await first.ask(read)).toBe("200");
    const opened = await first.finish();
    const second = startWayleave(job.env, ...execRequests(at.edge));
    expect(await second.ask(read)).toBe("200");
    const joined = await second.finish();
    const session = sessionOf(opened.err, "opened");
    expect([opened.status, joined.status, sessionOf(joined.err, "joined")]).toEqual([0, 0, session]);
    expect(sessionsOf(job)).toEqual([session]);

    const kept = await wayleave(job.env, "token");
    const token = readFileSync(kept.out.trim(), "utf8").trim();
    const before = await at.world.client.call("GET", `${at.world.edgeUrl("billing.localhost")}/v1/health`, token);
    const ended = await wayleave(job.env, "end");
    const after = await at.world.client.call("GET", `${at.world.edgeUrl("billing.localhost")}/v1/health`, token);
    expect([before.status, ended.err, after.status, after.reason]).toEqual([
      200,
      `wayleave: session ${session} ended\n`,
      401,
      "session_ended",
    ]);
    const late = await wayleave(job.env, ...execRequests(at.edge));
    expect([late.status, sessionsOf(job)]).toEqual([3, [session]]);
    expect(late.err).toContain("refused  session_ended");
  });

  test("in parallel share it too, and the one that exits first takes nothing from the other", async () => {
    const job = await at.startJob();
    const both = [1, 2].map(() => startWayleave(job.env, ...execRequests(at.edge)));
    expect(await Promise.all(both.map((each) => each.ask(read)))).toEqual(["200", "200"]);
    const [first, second] = both;
    const done = [await first?.finish()];
    expect(await second?.ask(read)).toBe("200");
    done.push(await second?.finish());
    expect(done.map((each) => each?.status)).toEqual([0, 0]);
    const [session] = sessionsOf(job);
    const opened = done.map((each) => sessionOf(each?.err ?? "", "opened")).filter((id) => id !== undefined);
    const joined = done.map((each) => sessionOf(each?.err ?? "", "joined")).filter((id) => id !== undefined);
    expect([opened, joined, sessionsOf(job)]).toEqual([[session], [session], [session]]);
    expect(new Set(at.records.of("lease.held", session).map((record) => record.data.lease)).size).toBe(2);
    expect(at.records.of("session.ended", session)).toEqual([]);
  });

  test("pass on the status of what they run, and explain a refusal in the job's log", async () => {
    const job = await at.startJob();
    const script = 'curl -s -o /dev/null -w "%{http_code}" -X POST "$WAYLEAVE_BILLING_URL/v1/releases"; exit 7';
    const target = `billing=${at.edge}`;
    const done = await wayleave(job.env, "exec", "--end", "--target", target, "--", "sh", "-c", script);
    expect([done.status, done.out]).toEqual([7, "403\n"]);
    expect(done.err).toContain("denied");
    expect(done.err).toContain("change.merged");
    const [session] = sessionsOf(job);
    const ended = await at.records.until("session.ended", (record) => record.session === session);
    expect(ended.data.reason).toBe("client_end");
  });
});

describe("an exchange whose answer was lost", () => {
  test("is tried again by `exec`, and is the same session", async () => {
    const job = await at.startJob();
    const lost = at.proxy.loseNextAnswer();
    const command = startWayleave(job.env, ...execRequests(at.edge));
    await lost;
    expect(await command.ask(read)).toBe("200");
    const done = await command.finish();
    expect(done.err).toContain("wayleave: no answer from the broker (retrying, 2 of 5)\n");
    expect(sessionsOf(job)).toEqual([sessionOf(done.err, "opened")]);
  });

  test("is tried again by the sh client, and is the same session", async () => {
    const job = await at.startJob();
    const client = await fetchClient(job);
    const lost = at.proxy.loseNextAnswer();
    const done = await client("exchange", "billing");
    await lost;
    expect(done.err).toContain("wayleave: no answer from the broker (retrying, 2 of 5)\n");
    expect([done.status, sessionsOf(job)]).toEqual([0, [sessionOf(done.err, "opened")]]);
  });

  test("but the token alone, from elsewhere, is a replay", async () => {
    const job = await at.startJob();
    const opened = await wayleave(job.env, "token");
    const stolen = await wayleave(at.env(job.job, job.token), "token");
    expect([opened.status, stolen.status]).toEqual([0, 3]);
    expect(stolen.err).toContain("subject_token_replayed");
    expect(stolen.err).not.toContain(job.token);
    expect(sessionsOf(job)).toHaveLength(1);
  });
});

// What wayleave.sh may count on in an image: nothing else is on its PATH.
const tools = "cat chmod curl cut date id ls mkdir mv od rm rmdir sed sleep tail tr".split(" ");

function findOnPath(name: string): string {
  const places = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, name));
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false; // not in this folder
    }
  });
  if (found === undefined) throw new Error(`this test needs ${name} on PATH`);
  return found;
}

/** The job's machine, with only sh, curl and these tools on its PATH. */
function bareImage({ env }: GitlabJob, names: readonly string[]): Readonly<Record<string, string>> {
  const folder = mkdtempSync(join(env.HOME ?? "", "bin-"));
  for (const name of ["sh", ...names]) symlinkSync(findOnPath(name), join(folder, name));
  return { ...env, PATH: folder };
}

/** Gets the client from the broker and checks it, as its first lines say. */
async function fetchClient(job: GitlabJob) {
  const commands = `cd "$HOME" && curl -fsS "$WAYLEAVE_URL/client.sh" -o wayleave.sh &&
    curl -fsS "$WAYLEAVE_URL/client.sh.sha256" | sha256sum -c`;
  const checked = await run("sh", ["-c", commands], bareImage(job, ["curl", "sha256sum"]));
  expect(checked).toEqual({ status: 0, out: "wayleave.sh: OK\n", err: "" });
  const file = join(job.env.HOME ?? "", "wayleave.sh");
  return (...args: readonly string[]) => run("sh", [file, ...args], bareImage(job, tools));
}

describe("a job in an image with only sh and curl", () => {
  test("has a session, is let through, is refused, and ends it", async () => {
    const job = await at.startJob();
    const client = await fetchClient(job);
    const billing = at.world.edgeUrl("billing.localhost");
    // curl resolves *.localhost by itself only from 7.77 on.
    const resolve = ["--resolve", `billing.localhost:${new URL(billing).port}:127.0.0.1`];
    const status = ["-o", "/dev/null", "-w", "%{http_code}\n"];
    const opened = await client("exchange", "billing");
    const session = sessionOf(opened.err, "opened");
    expect([opened.status, sessionsOf(job)]).toEqual([0, [session]]);

    const got = await client("get", `${billing}/v1/invoices/42`, ...resolve, ...status);
    expect([got.status, got.out, got.err]).toEqual([0, "200\n", ""]);
    const refused = await client("request", `${billing}/v1/releases`, "-X", "POST", ...resolve, ...status);
    expect([refused.status, refused.out]).toEqual([0, "403\n"]);
    expect(refused.err).toMatch(/^wayleave: denied {2}condition_failed {2}rec_\w+\n$/);

    const ended = await client("end");
    expect([ended.status, ended.err]).toEqual([0, `wayleave: session ${session} ended\n`]);
    const over = await at.records.until("session.ended", (record) => record.session === session);
    expect(over.data.reason).toBe("client_end");
    const late = await client("get", `${billing}/v1/invoices/42`, ...resolve, ...status);
    expect([late.status, late.out]).toEqual([3, ""]);
  });
});
