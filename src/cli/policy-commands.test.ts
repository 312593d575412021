import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fakeIo } from "./job/command-io.fake.ts";
import { runCli } from "./program.ts";

const policy = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
who:
  shop: { gitlab: { project: acme/shop } }
roles:
  read-billing:
    for: [shop]
    allow: { billing: [GET /v1/**] }
  release:
    for: [shop]
    when: change.merged
    allow: { billing: [POST /v1/releases] }
tests:
  - name: the shop reads
    as: { gitlab: { project: acme/shop } }
    can: [GET billing /v1/invoices/42]
`;

async function typed(text: string, ...argv: readonly string[]) {
  const io = fakeIo();
  mkdirSync(join(io.cwd, "policy"));
  writeFileSync(join(io.cwd, "policy", "shop.yaml"), text);
  const path = join(io.cwd, "policy");
  const status = await runCli(
    argv.map((word) => (word === "POLICY" ? path : word)),
    io,
  );
  return { status, out: io.out(), err: io.err() };
}

describe("policy check", () => {
  test("counts what is valid", async () => {
    const { status, out, err } = await typed(policy, "policy", "check", "POLICY");
    expect([status, err]).toEqual([0, ""]);
    expect(out).toMatch(/^policy [0-9a-f]{12} is valid: 1 target, 2 roles, 0 deny, 1 test passed\n$/);
  });

  test("points at each mistake: exit status 2", async () => {
    const { status, err } = await typed(policy.replace("for: [shop]", "for: [shpo]"), "policy", "check", "POLICY");
    expect(status).toBe(2);
    expect(err).toMatch(/shop\.yaml:8:\d+/);
    expect(err).toMatch(/1 error in /);
  });

  test("fails with the policy's own tests", async () => {
    const { status, err } = await typed(policy.replace("GET billing", "PUT billing"), "policy", "check", "POLICY");
    expect([status, err.includes("test_failed")]).toEqual([2, true]);
  });

  test("--json prints the findings as data", async () => {
    const { status, out } = await typed(policy.replace("[shop]", "[shpo]"), "policy", "check", "POLICY", "--json");
    const found = JSON.parse(out) as { ok: boolean; diagnostics: { place: { line: number } }[] };
    expect([status, found.ok, found.diagnostics[0]?.place.line]).toEqual([2, false, 8]);
  });
});

test("policy check speaks to code scanning and to GitLab, with the same exit status", async () => {
  const wrong = policy.replace("for: [shop]", "for: [shpo]");
  const sarif = await typed(wrong, "policy", "check", "POLICY", "--format", "sarif");
  expect([sarif.status, sarif.err]).toEqual([2, ""]);
  expect(JSON.parse(sarif.out)).toMatchObject({ version: "2.1.0", runs: [{ results: [{ ruleId: "who_unknown" }] }] });
  const quality = await typed(wrong, "policy", "check", "POLICY", "--format", "codequality");
  expect([quality.status, JSON.parse(quality.out)]).toMatchObject([2, [{ check_name: "who_unknown" }]]);
  const none = await typed(policy, "policy", "check", "POLICY", "--format", "codequality");
  expect([none.status, none.out]).toEqual([0, "[]\n"]);
  expect((await typed(policy, "policy", "check", "POLICY", "--format", "xml")).status).toBe(2);
});

test("policy test names each test and what failed", async () => {
  const good = await typed(policy, "policy", "test", "POLICY");
  expect([good.status, good.out]).toEqual([0, "pass  the shop reads\n1 passed, 0 failed\n"]);
  const bad = await typed(policy.replace("GET billing", "PUT billing"), "policy", "test", "POLICY");
  expect([bad.status, bad.out]).toEqual([2, "FAIL  the shop reads\n0 passed, 1 failed\n"]);
});

describe("policy can", () => {
  const shop = ["--as", "project=acme/shop"];
  test.each<{ ask: readonly string[]; status: number; says: RegExp }>([
    {
      ask: [...shop, "GET", "billing", "/v1/x"],
      status: 0,
      says: /^allow {2}GET billing \/v1\/x\n.*\n {2}rule {7}read-billing \(.*shop\.yaml:7\)/,
    },
    { ask: [...shop, "--with", "change.merged=true", "POST", "billing", "/v1/releases"], status: 0, says: /^allow/ },
    {
      ask: [...shop, "--with", "change.merged=false", "POST", "billing", "/v1/releases"],
      status: 3,
      says: /condition failed/,
    },
    {
      ask: [...shop, "POST", "billing", "/v1/releases"],
      status: 3,
      says: /change\.merged; give it with --with change\.merged=/,
    },
    { ask: ["--as", "project=acme/other", "GET", "billing", "/v1/x"], status: 3, says: /no role/ },
    { ask: [...shop, "--as", "fork=unknown", "GET", "billing", "/v1/x"], status: 3, says: /no role/ },
    { ask: [...shop, "GET", "biling", "/v1/x"], status: 3, says: /target unknown/ },
    { ask: ["--as", "ref=main", "GET", "billing", "/v1/x"], status: 2, says: /Say whose job it is/ },
    { ask: [...shop, "--as", "colour=red", "GET", "billing", "/v1/x"], status: 2, says: /no field "colour"/ },
    { ask: [...shop, "--as", "project", "GET", "billing", "/v1/x"], status: 2, says: /Write key=value/ },
    { ask: [...shop, "GET"], status: 2, says: /Ask as in a policy's tests/ },
  ])("$ask -> $status", async ({ ask, status, says }) => {
    const done = await typed(policy, "policy", "can", "--policy", "POLICY", ...ask);
    expect(done.status).toBe(status);
    expect(done.out + done.err).toMatch(says);
  });
});

test("policy explain lists a job's roles, conditions and the facts they need", async () => {
  const { status, out } = await typed(policy, "policy", "explain", "--policy", "POLICY", "--as", "project=acme/shop");
  expect(status).toBe(0);
  expect(out).toMatch(/^role read-billing .*\n {2}billing {4}GET \/v1\/\*\*\nrole release .*\n/);
  expect(out).toContain("  when       change.merged\n");
  expect(out).toContain("facts it depends on: change.merged\n");
});

test("policy lock writes pins by hand, sorted, and keeps those it has", async () => {
  const io = fakeIo();
  mkdirSync(join(io.cwd, "policy"));
  const file = join(io.cwd, "policy", "shop.yaml");
  writeFileSync(file, policy);
  expect(await runCli(["policy", "lock", "--policy", file, "gitlab/acme/shop=1042"], io)).toBe(0);
  expect(await runCli(["policy", "lock", "--policy", file, "gitlab/acme/app=7"], io)).toBe(0);
  expect(io.out()).toMatch(/wayleave\.lock: 1 project pinned\n.*wayleave\.lock: 2 projects pinned\n/);
  expect(await runCli(["policy", "lock", "--policy", file, "acme/shop"], io)).toBe(2);
});

describe("policy lock --check", () => {
  const locked = async (pins: string, text = policy) => {
    const io = fakeIo();
    const file = join(io.cwd, "shop.yaml");
    writeFileSync(file, text);
    if (pins !== "") writeFileSync(join(io.cwd, "wayleave.lock"), `version: 1\npins: { ${pins} }\n`);
    const status = await runCli(["policy", "lock", "--check", "--policy", file], io);
    return { status, out: io.out(), err: io.err() };
  };

  test("says that every project named is pinned", async () => {
    expect(await locked('gitlab/acme/shop: "1042"')).toEqual({
      status: 0,
      out: "1 project named, all pinned\n",
      err: "",
    });
  });

  test.each([
    { pins: "", says: /gitlab\/acme\/shop is not pinned/ },
    {
      pins: 'gitlab/acme/app: "7"',
      says: /acme\/shop is not pinned\ngitlab\/acme\/app is pinned, and policy names it no more/,
    },
    { pins: 'gitlab/acme/shop: "1042", gitlab/acme/app: "7"', says: /^gitlab\/acme\/app is pinned/ },
  ])("refuses { $pins }: exit status 3", async ({ pins, says }) => {
    const { status, err } = await locked(pins);
    expect(status).toBe(3);
    expect(err).toMatch(says);
    expect(err).toContain("Run `wayleave policy lock` and commit it.");
  });

  test("a selector with an id, or with a glob, needs no pin", async () => {
    const text = policy.replace("{ project: acme/shop } }\nroles", '{ project: "acme/*", project_id: "7" } }\nroles');
    expect((await locked("", text)).status).toBe(0);
  });
});
