import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fakeIo } from "./job/command-io.fake.ts";
import { runCli } from "./program.ts";

const policy = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
  db: { secret: { vault: kv/data/shop/db, fields: [password] } }
who:
  shop: { gitlab: { project: acme/shop } }
  deploy: { gitlab: { project: acme/shop, ref: main, environment: production } }
roles:
  read-billing:
    for: [shop]
    allow: { billing: [GET /v1/**] }
  release:
    for: [deploy]
    when: change.merged && change.approvals >= 1
    ttl: 10m
    allow: { billing: [POST /v1/releases], db: [read] }
deny:
  - { id: agents, for: { kind: agent }, targets: [db], because: agents get results not credentials }
  - { id: no-notes, for: { gitlab: { project: acme/shop } }, operations: { billing: [GET /v1/notes] }, because: private }
`;

async function compare(old: string, fresh: string, ...options: readonly string[]) {
  const io = fakeIo();
  const paths = [join(io.cwd, "old.yaml"), join(io.cwd, "new.yaml")] as const;
  writeFileSync(paths[0], old);
  writeFileSync(paths[1], fresh);
  const status = await runCli(["policy", "diff", ...paths, ...options], io);
  return { status, out: io.out().replaceAll(`${io.cwd}/`, ""), err: io.err() };
}

/** What is written otherwise and means the same. */
const renamed = policy
  .replaceAll("shop]", "store]")
  .replace("  shop: {", "  store: {")
  .replace("read-billing:", "readers:")
  .replace("merged && change.approvals >= 1", "approvals >= 1 && change.merged")
  .replace("allow: { billing: [GET /v1/**] }", "allow: { billing: [GET /v1/health, GET /v1/**] }");

describe("the gate", () => {
  test.each([
    { what: "nothing", fresh: policy, gate: "any", status: 0 },
    { what: "other names, another order, a rule another gives", fresh: renamed, gate: "any", status: 0 },
    { what: "a condition less", fresh: policy.replace(" && change.approvals >= 1", ""), gate: "gains", status: 3 },
    {
      what: "a condition more",
      fresh: policy.replace("approvals >= 1", "approvals >= 1 && job.ref == 'x'"),
      gate: "gains",
      status: 0,
    },
    {
      what: "a condition more",
      fresh: policy.replace("approvals >= 1", "approvals >= 1 && job.ref == 'x'"),
      gate: "losses",
      status: 3,
    },
    { what: "a longer token", fresh: policy.replace("10m", "15m"), gate: "gains", status: 3 },
    { what: "a shorter token", fresh: policy.replace("10m", "5m"), gate: "gains", status: 0 },
    { what: "a deny less", fresh: policy.replace(/ {2}- { id: no-notes.*\n/, ""), gate: "gains", status: 3 },
    {
      what: "a deny of agents less, where nobody is one",
      fresh: policy.replace(/ {2}- { id: agents.*\n/, ""),
      gate: "gains",
      status: 0,
    },
    { what: "another branch", fresh: policy.replace("ref: main", 'ref: "*"'), gate: "gains", status: 3 },
    {
      what: "a host more",
      fresh: policy.replace("[billing.internal]", "[billing.internal, pay.internal]"),
      gate: "gains",
      status: 3,
    },
    {
      what: "an observed target",
      fresh: policy.replace("internal] }", "internal] }, mode: observe"),
      gate: "gains",
      status: 3,
    },
    { what: "another secret", fresh: policy.replace("shop/db", "all/db"), gate: "gains", status: 3 },
    {
      what: "forks",
      fresh: policy.replace("project: acme/shop }", "project: acme/shop, fork: true }"),
      gate: "gains",
      status: 3,
    },
  ])("$what with --fail-on $gate: exit status $status", async ({ fresh, gate, status }) => {
    const done = await compare(policy, fresh, "--fail-on", gate);
    expect([done.err, done.status]).toEqual(["", status]);
  });

  test("without it a difference is only said", async () => {
    expect((await compare(policy, policy.replace("10m", "15m"))).status).toBe(0);
  });

  test.each([
    { options: ["--fail-on", "gain"], says: /--fail-on "gain" is not known. Say gains, losses, any/ },
    { options: ["--format", "html"], says: /--format "html" is not known/ },
  ])("$options: exit status 2", async ({ options, says }) => {
    const done = await compare(policy, policy, ...options);
    expect(done.status).toBe(2);
    expect(done.err).toMatch(says);
  });

  test("a policy with errors is exit status 2, never a closed or an open gate", async () => {
    const done = await compare(policy, policy.replace("[shop]", "[shpo]"), "--fail-on", "gains");
    expect([done.status, done.out]).toEqual([2, ""]);
    expect(done.err).toContain('did you mean "shop"?');
  });
});

test("people read who gains what, on which terms, by which role", async () => {
  const fresh = policy
    .replace("10m", "15m")
    .replace(", environment: production", "")
    .replace("GET /v1/**", "GET /v1/*");
  const { out } = await compare(policy, fresh);
  expect(out.replaceAll(/\b[0-9a-f]{12}\b/g, "…")).toBe(`policy … → …

gains
  gitlab acme/shop, ref main
  when change.approvals >= 1 && change.merged, ttl 15m
  role release (new.yaml:12)
    + POST billing /v1/releases
    + read db

loses
  gitlab acme/shop
  role read-billing (old.yaml:9)
    - GET billing /v1/**
`);
});

test("a note for a merge request holds no markup of the policy's own, nor anybody's name to be called", async () => {
  const evil = policy.replace("ref: main", 'ref: "|@all<b>![x](https://evil.example)`"');
  const { out } = await compare(policy, evil, "--format", "markdown");
  expect(out).toContain("### Gains");
  expect(out).not.toMatch(/@all|<b>|!\[|https:|evil\.example\)/);
  for (const line of out.split("\n").filter((one) => one.startsWith("|"))) {
    expect(line.split("|")).toHaveLength(5);
  }
});

test("the older policy can be what Git has, and the lock file is part of it", async () => {
  const io = fakeIo();
  const git = (...args: readonly string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@acme.example", ...args], { cwd: io.cwd });
  const say = async (...args: readonly string[]) => {
    const status = await runCli(["policy", "diff", ...args], io);
    return { status, out: io.out(), err: io.err() };
  };
  git("init", "-q");
  writeFileSync(join(io.cwd, "policy.yaml"), policy);
  writeFileSync(join(io.cwd, "wayleave.lock"), 'version: 1\npins: { "gitlab/acme/shop": "1042" }\n');
  git("add", "policy.yaml", "wayleave.lock");
  git("commit", "-qm", "policy");
  const file = join(io.cwd, "policy.yaml");
  expect(await say("git:HEAD:policy.yaml", file, "--fail-on", "any")).toMatchObject({ status: 0, err: "" });
  writeFileSync(join(io.cwd, "wayleave.lock"), 'version: 1\npins: { "gitlab/acme/shop": "2000" }\n');
  const changed = await say("git:HEAD:policy.yaml", file, "--fail-on", "gains");
  expect(changed.status).toBe(3);
  expect(changed.out).toContain("gitlab/acme/shop now means id 2000, not 1042");
  for (const wrong of ["git:nope:policy.yaml", "git:HEAD:nope.yaml", "git:--help:policy.yaml", "git:"]) {
    expect((await say(wrong, file)).status).toBe(2);
  }
  expect(io.err()).toContain('Git has no policy "git:nope:policy.yaml"');
});
