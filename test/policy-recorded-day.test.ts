import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { createApp } from "../src/api/app.ts";
import { type OperatorRouteDeps, operatorRoutes } from "../src/api/operator.ts";
import { fakeIo } from "../src/cli/job/command-io.fake.ts";
import { runCli } from "../src/cli/program.ts";
import { listenOnSocket } from "../src/server/listen.ts";
import { type BrokerState, openState } from "../src/server/state.ts";
import { recordDay } from "./recorded-day.ts";
import type { Day, Effects } from "./recorded-day-count.ts";
import { policies } from "./recorded-day-policies.ts";

const decisions = 100_000;
const log = pino({ level: "silent" });

let directory = "";
let state: BrokerState;
let day: Day;
let stop: () => Promise<void> = async () => undefined;

/** A day of decisions by the real decision point into the real journal, and the operator's routes over it. */
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-day-"));
  writeFileSync(join(directory, "wayleave.yaml"), stringify({ data: "./data" }));
  const time = { now: Date.parse("2026-11-24T00:00:00.000Z") };
  const clock = { now: () => time.now, monotonic: () => time.now };
  state = await openState(join(directory, "data"), clock);
  for (const [name, text] of Object.entries(policies)) writeFileSync(join(directory, `${name}.yaml`), text);
  day = await recordDay(state.recorder, time, decisions);
  const { query, get, follow } = state.records;
  const app = createApp({
    log,
    behindProxy: false,
    routes: [operatorRoutes({ records: query, record: get, follow } as unknown as OperatorRouteDeps)],
  });
  await listenOnSocket(app, join(directory, "data", "admin.sock"));
  stop = () => app.close();
});

afterAll(async () => {
  await stop();
  await state?.close();
  rmSync(directory, { recursive: true, force: true });
});

async function typed<T>(...argv: readonly string[]): Promise<T> {
  const io = fakeIo();
  const since = ["--since", "2026-11-24T00:00:00Z", "--until", "2026-11-26T00:00:00Z"];
  const config = ["--config", join(directory, "wayleave.yaml"), "--json"];
  const status = await runCli(["policy", ...argv, ...since, ...config], io);
  if (status !== 0 && status !== 3) throw new Error(io.err());
  return JSON.parse(io.out()) as T;
}

test("the day is what it should be: every kind of answer is in it, many times", () => {
  expect(day.requests).toBe(decisions);
  for (const reason of ["allowed", "no_role", "condition_failed", "fact_missing", "limit_exceeded", "denied"])
    expect(day.reasons.get(reason), reason).toBeGreaterThan(100);
  expect(day.canary).toBeGreaterThan(1_000);
});

test("the candidate's disagreements are those of both policies asked alone", async () => {
  const counted = await state.records.disagreements(day.candidate);
  const told = counted.map(({ effect, target, role, reason, count }) =>
    [effect, target, role, reason, count].join(" "),
  );
  expect(told.toSorted()).toEqual([...day.disagreements].map(([key, count]) => `${key} ${count}`).toSorted());
  expect(told.length).toBeGreaterThan(5);
  expect(new Set(counted.map(({ effect }) => effect)).size).toBe(3);
});

test("a replay has the numbers of the draft asked alone about the day as it was", async () => {
  const path = join(directory, "draft.yaml");
  const { effects, requests } = await typed<{ effects: Effects; requests: number }>("replay", path);
  expect(requests).toBe(decisions);
  expect(effects).toEqual(day.replayed.draft.effects);
  for (const effect of ["newly_denied", "newly_allowed", "unknown"] as const)
    expect(effects[effect], effect).toBeGreaterThan(100);
});

test("coverage has the numbers of the candidate asked alone, role by role and operation by operation", async () => {
  type Role = { role: string; requests: number; operations: { target: string; operation: string; requests: number }[] };
  type Answer = { effects: Effects; roles: Role[]; breaks: { project: string; count: number }[] };
  const { effects, roles, breaks } = await typed<Answer>("coverage", join(directory, "candidate.yaml"));
  const { used, broken, ...alone } = day.replayed.candidate;
  expect(effects).toEqual(alone.effects);
  const counted = roles.flatMap(({ role, requests, operations }) => [
    [role, requests] as const,
    ...operations.map((each) => [`${role} ${each.target} ${each.operation}`, each.requests] as const),
  ]);
  expect(Object.fromEntries(counted)).toEqual(Object.fromEntries(counted.map(([name]) => [name, used.get(name) ?? 0])));
  expect(counted.filter(([, requests]) => requests === 0)).toEqual([["delete billing DELETE /v1/never", 0]]);
  const projects = new Map<string, number>();
  for (const { project, count } of breaks) projects.set(project, (projects.get(project) ?? 0) + count);
  expect(Object.fromEntries(projects)).toEqual(Object.fromEntries(broken));
});
