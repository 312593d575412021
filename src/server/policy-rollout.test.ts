import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { PolicyHistory } from "../rollout/policy-history.ts";
import { openKeptPolicies } from "./kept-policies.ts";
import { openPolicyRollout, type PolicyRollout } from "./policy-rollout.ts";
import { buildPolicy, type LoadedPolicy } from "./policy-source.ts";

const textOf = (allow: string, more = ""): string => `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles: { read: { for: [shop], allow: { billing: [${allow}] } } }
${more}`;
const options = {
  path: "",
  issuers: [{ name: "gitlab", type: "gitlab" as const }],
  spiffe: { trustDomain: "acme.example", prefixes: [] },
  now: () => 0,
};
const textsOf = (text: string) => ({ files: [{ name: "policy.yaml", text }] });
const build = (texts: ReturnType<typeof textsOf>): LoadedPolicy => buildPolicy(texts, options);
const [a, b, c] = ["GET /a", "GET /b", "GET /c"].map((allow) => textOf(allow)) as [string, string, string];
const versionOf = (text: string): string => build(textsOf(text)).policy.version;

/** Files, a folder of kept policies and a log, around a roll-out that may be started again. */
function world() {
  const folder = mkdtempSync(join(tmpdir(), "wayleave-rollout-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const log: AuditRecord[] = [];
  const w = {
    file: a,
    full: false,
    accepts: true,
    now: 1_000_000,
    /** As the watcher does when it has read the files. */
    tell: (_read: LoadedPolicy): void => undefined,
  };
  let disk = build(textsOf(w.file));
  const append = async (events: readonly AuditEvent[]): Promise<readonly AuditRecord[]> => {
    if (w.full) throw new WayleaveError("journal_unavailable", "full");
    const seq = log.length + 1;
    const records = events.map((event, at): AuditRecord => {
      const time = new Date(++w.now).toISOString();
      return { ...event, v: 1, id: `rec_${seq + at}`, seq: seq + at, time };
    });
    log.push(...records);
    return records;
  };
  const start = (): Promise<PolicyRollout> => {
    const history = new PolicyHistory();
    for (const record of log) history.apply(record);
    disk = build(textsOf(w.file));
    return openPolicyRollout({
      disk: {
        current: () => disk,
        problem: () => undefined,
        sources: () => undefined,
        async reload() {
          disk = build(textsOf(w.file));
          return disk;
        },
        watch(onReload) {
          w.tell = onReload;
          return () => undefined;
        },
      },
      history,
      kept: openKeptPolicies(folder, () => ++w.now),
      recorder: { append },
      clock: { now: () => ++w.now },
      shadow: { used: () => 0, count: () => undefined },
      build,
      accept() {
        if (!w.accepts) throw new WayleaveError("config_invalid", "a gateway fronts what it does not have");
      },
      onFault: () => undefined,
      warn: () => undefined,
    });
  };
  const kinds = () => log.map(({ kind }) => kind);
  return { w, start, folder, log, kinds };
}

const stateOf = (rollout: PolicyRollout) => {
  const { active, candidate, disk, change } = rollout.rolloutState();
  return {
    active: active.policy.version,
    candidate: candidate?.policy.version,
    disk,
    how: change?.how,
    decides: rollout.current().policy.version,
  };
};

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "done",
    (error: unknown) => (error instanceof WayleaveError ? error.code : String(error)),
  );

describe("what cannot be recorded, kept or accepted does not happen", () => {
  test.each([
    { verb: "propose", code: "journal_unavailable", run: (r: PolicyRollout) => r.propose(textsOf(c), "op") },
    { verb: "withdraw", code: "journal_unavailable", run: (r: PolicyRollout) => r.withdraw("op") },
    {
      verb: "canary",
      code: "journal_unavailable",
      run: (r: PolicyRollout) => r.tryOn({ projects: ["x"], share: 0 }, undefined, "op"),
    },
    { verb: "promote", code: "journal_unavailable", run: (r: PolicyRollout) => r.promote(undefined, "op") },
    { verb: "rollback", code: "journal_unavailable", run: (r: PolicyRollout) => r.rollback(versionOf(b), "op") },
  ])("$verb, where the journal is full", async ({ code: expected, run }) => {
    const { w, start } = world();
    const rollout = await start();
    await rollout.propose(textsOf(b), "op");
    const before = stateOf(rollout);
    w.full = true;
    expect(await code(run(rollout))).toBe(expected);
    expect(stateOf(rollout)).toEqual(before);
    expect(rollout.rolloutState().canary).toEqual({ projects: [], share: 0 });
  });

  test.each([
    {
      what: "its tests fail",
      text: textOf("GET /b", "tests: [{ name: t, as: { gitlab: { project: acme/shop } }, can: [GET billing /a] }]"),
      code: "policy_invalid",
    },
    { what: "it is broken", text: "version: 1\nroles: [", code: "policy_invalid" },
    { what: "it is empty", text: "", code: "policy_invalid" },
    { what: "it is in force", text: a, code: "invalid_request" },
  ])("a candidate is refused where $what, and the earlier one stays", async ({ text, code: expected }) => {
    const { start, kinds } = world();
    const rollout = await start();
    await rollout.propose(textsOf(b), "op");
    expect(await code(rollout.propose(textsOf(text), "op"))).toBe(expected);
    expect(stateOf(rollout)).toMatchObject({ active: versionOf(a), candidate: versionOf(b) });
    expect(kinds()).toEqual(["policy.candidate"]);
  });

  test("a policy that this installation cannot run by is neither candidate nor in force again", async () => {
    const { w, start } = world();
    const rollout = await start();
    await rollout.propose(textsOf(b), "op");
    w.accepts = false;
    expect(await code(rollout.propose(textsOf(c), "op"))).toBe("config_invalid");
    expect(await code(rollout.promote(undefined, "op"))).toBe("config_invalid");
    w.accepts = true;
    await rollout.promote(undefined, "op");
    w.accepts = false;
    expect(await code(rollout.rollback(undefined, "op"))).toBe("config_invalid");
    expect(stateOf(rollout)).toMatchObject({ active: versionOf(b) });
  });

  test("texts that are not those of their version are refused", async () => {
    const { start, folder } = world();
    const rollout = await start();
    await rollout.propose(textsOf(b), "op");
    await rollout.promote(undefined, "op");
    for (const text of [JSON.stringify(textsOf(c)), "{", "[]", "null"]) {
      writeFileSync(join(folder, `${versionOf(a)}.json`), text);
      expect(await code(rollout.rollback(versionOf(a), "op")), text).not.toBe("done");
      expect(stateOf(rollout).active).toBe(versionOf(b));
    }
  });
});

describe("promotion and rollback", () => {
  test("of many at once one succeeds, and each is a record", async () => {
    const { start, kinds } = world();
    const rollout = await start();
    await rollout.propose(textsOf(b), "op");
    const codes = await Promise.all(Array.from({ length: 5 }, () => code(rollout.promote(versionOf(b), "op"))));
    expect(codes.toSorted()).toEqual(["done", "no_candidate", "no_candidate", "no_candidate", "no_candidate"]);
    expect(kinds().filter((kind) => kind === "policy.promoted")).toHaveLength(1);
  });

  test.each([
    { meant: versionOf(a), code: "candidate_changed" },
    { meant: versionOf(b).slice(0, 5), code: "candidate_changed" },
    { meant: versionOf(b).slice(0, 6), code: "done" },
    { meant: `${versionOf(b)}0`, code: "candidate_changed" },
    { meant: undefined, code: "done" },
  ])("promotes the candidate that is meant: $meant is $code", async ({ meant, code: expected }) => {
    const { start } = world();
    const rollout = await start();
    await rollout.propose(textsOf(b), "op");
    expect(await code(rollout.promote(meant, "op"))).toBe(expected);
  });

  test("a candidate that was replaced meanwhile is not promoted", async () => {
    const { start } = world();
    const rollout = await start();
    await rollout.propose(textsOf(b), "op");
    const [, promoted] = [rollout.propose(textsOf(c), "other"), rollout.promote(versionOf(b), "op")];
    expect(await code(promoted)).toBe("candidate_changed");
    expect(stateOf(rollout).active).toBe(versionOf(a));
  });

  test("a new candidate, a promotion and a rollback end the canary; a rollback leaves the candidate beside", async () => {
    const { start } = world();
    const rollout = await start();
    const canary = { projects: ["acme/shop"], share: 0 };
    await rollout.propose(textsOf(b), "op");
    await rollout.tryOn(canary, undefined, "op");
    await rollout.propose(textsOf(c), "op");
    expect(rollout.rolloutState().canary.projects).toEqual([]);
    await rollout.tryOn(canary, undefined, "op");
    await rollout.rollback(versionOf(a), "op");
    expect(rollout.rolloutState().canary.projects).toEqual([]);
    expect(stateOf(rollout)).toMatchObject({ active: versionOf(a), candidate: versionOf(c) });
    await rollout.rollback(versionOf(b), "op");
    expect(stateOf(rollout)).toMatchObject({ active: versionOf(b), candidate: versionOf(c) });
    await rollout.rollback(versionOf(c), "op");
    expect(stateOf(rollout)).toMatchObject({ active: versionOf(c), candidate: undefined });
  });
});

describe("the files", () => {
  async function promoted() {
    const found = world();
    const rollout = await found.start();
    await rollout.propose(textsOf(b), "op");
    await rollout.promote(undefined, "op");
    return { ...found, rollout };
  }

  test("that say what they said are set aside: after a reload and after a start", async () => {
    const { rollout, start } = await promoted();
    expect(await rollout.reload()).toMatchObject({ disk: versionOf(a), policy: { version: versionOf(b) } });
    expect(stateOf(rollout)).toMatchObject({ active: versionOf(b), disk: versionOf(a) });
    expect(stateOf(await start())).toMatchObject({ active: versionOf(b), disk: versionOf(a), how: "promoted" });
  });

  test("that say something new are the policy: at a reload, and at a start", async () => {
    const { w, rollout, start, log } = await promoted();
    w.file = c;
    const again = await start();
    expect(stateOf(again)).toMatchObject({ active: versionOf(c), how: "loaded" });
    expect(log.at(-1)).toMatchObject({ kind: "policy.loaded", data: { replaces: versionOf(b) } });
    expect(await rollout.reload()).toMatchObject({ replaces: versionOf(b) });
    expect(stateOf(rollout)).toMatchObject({ active: versionOf(c), how: "loaded" });
    // And what was set aside once is not set aside for ever.
    w.file = a;
    await rollout.reload();
    expect(stateOf(rollout).active).toBe(versionOf(a));
  });

  test("that catch up with what was promoted change nothing", async () => {
    const { w, rollout, start } = await promoted();
    w.file = b;
    const reloaded = await rollout.reload();
    expect(reloaded.replaces).toBeUndefined();
    expect(stateOf(await start())).toMatchObject({ active: versionOf(b), disk: versionOf(b), how: "promoted" });
  });

  test("that become the candidate end it", async () => {
    const { w, start } = world();
    const rollout = await start();
    await rollout.propose(textsOf(b), "op");
    w.file = b;
    await rollout.reload();
    expect(stateOf(rollout)).toMatchObject({ active: versionOf(b), candidate: undefined });
  });

  test("that are broken leave everything as it is", async () => {
    const { w, rollout } = await promoted();
    w.file = "version: 1\nroles: [";
    expect(await code(rollout.reload())).toBe("policy_invalid");
    expect(stateOf(rollout).active).toBe(versionOf(b));
  });
});

describe("a start", () => {
  test("goes on with the candidate and its canary", async () => {
    const { start } = world();
    const first = await start();
    await first.propose(textsOf(b), "op");
    await first.tryOn({ projects: ["acme/shop"], share: 5 }, undefined, "op");
    const again = await start();
    expect(stateOf(again)).toMatchObject({ active: versionOf(a), candidate: versionOf(b) });
    expect(again.rolloutState().canary).toEqual({ projects: ["acme/shop"], share: 5 });
    expect(again.current().policy.inForce).toBe(first.current().policy.inForce);
  });

  test("withdraws a candidate whose texts are lost, and says so", async () => {
    const { start, folder, log } = world();
    const first = await start();
    await first.propose(textsOf(b), "op");
    rmSync(join(folder, `${versionOf(b)}.json`));
    expect(stateOf(await start()).candidate).toBeUndefined();
    expect(log.at(-1)).toMatchObject({ kind: "policy.candidate_withdrawn", data: { by: "the broker" } });
  });

  test("stops where what was promoted is lost: the files would bring back what was set aside", async () => {
    const { w, start, folder } = world();
    const first = await start();
    await first.propose(textsOf(b), "op");
    await first.promote(undefined, "op");
    rmSync(join(folder, `${versionOf(b)}.json`));
    expect(await code(start())).toBe("policy_invalid");
    w.file = c;
    expect(stateOf(await start()).active).toBe(versionOf(c));
  });
});

test("what is in force, tried or was before is kept, however many come", async () => {
  const folder = mkdtempSync(join(tmpdir(), "wayleave-kept-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  let now = 1_000_000;
  const kept = openKeptPolicies(folder, () => (now += 1_000));
  const spare = ["000000000001"];
  for (let at = 1; at <= 103; at++) await kept.keep(String(at).padStart(12, "0"), textsOf(String(at)), spare);
  const versions = (await kept.list()).map(({ version }) => version);
  expect(versions[0]).toBe("000000000103");
  expect(versions).toContain("000000000001");
  expect(versions).not.toContain("000000000002");
  expect(await kept.read("000000000001")).toEqual(textsOf("1"));
  await expect(kept.read("000000000002")).rejects.toMatchObject({ code: "policy_not_kept" });
});

test("what the watcher read before a reload never comes into force after it", async () => {
  const { w, start } = world();
  const rollout = await start();
  const told = new Promise<unknown>((resolve) => void rollout.watch(resolve));
  w.file = c;
  const reloading = rollout.reload();
  w.tell(build(textsOf(b)));
  expect((await reloading).policy.version).toBe(versionOf(c));
  await told;
  expect(stateOf(rollout)).toMatchObject({ active: versionOf(c), decides: versionOf(c) });
});
