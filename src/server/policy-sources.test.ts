import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openPolicySource, type PolicySourceOptions } from "./policy-source.ts";
import { openPolicySources } from "./policy-sources.ts";

const platform = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
roles: { health: { for: { gitlab: { group: acme } }, allow: { billing: [GET /health] } } }
`;
const team = (project: string, tests = "") => `version: 1
roles: { mine: { for: { gitlab: { project: ${project} } }, allow: { billing: [GET /v1/x] } } }
${tests}`;
const denyAll = `${platform}deny: [{ for: { gitlab: { group: acme } }, targets: [billing], because: an incident }]\n`;
const ownTest = `tests:
  - { name: ours, as: { gitlab: { project: acme/shop } }, can: [GET billing /v1/x] }
`;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "wayleave-sources-"));
  for (const name of ["platform", "team"]) mkdirSync(join(root, name));
  write("platform", platform);
  write("team", team("acme/shop"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const write = (name: string, text: string) => writeFileSync(join(root, name, "policy.yaml"), text);
const folder = () => join(root, "data", "policy-sources");
const issuers = [{ name: "gitlab", type: "gitlab" }] as const;

async function open(projects = ["gitlab/acme/shop"]) {
  const sources = openPolicySources({
    sources: [
      { name: "platform", path: join(root, "platform") },
      { name: "team", path: join(root, "team"), bounds: { projects, targets: ["billing"], hosts: [] } },
    ],
    issuers,
    folder: folder(),
  });
  const options: PolicySourceOptions = {
    path: root,
    sources,
    issuers,
    spiffe: { trustDomain: "acme.example", prefixes: [] },
    now: () => 0,
  };
  return openPolicySource(options);
}
type Opened = Awaited<ReturnType<typeof open>>;
const roles = (opened: Opened) => opened.current().model.roles.map(({ name }) => name);
const status = (opened: Opened) => Object.fromEntries((opened.sources() ?? []).map((one) => [one.name, one]));

test("sources are one policy, each with its version, its files told apart", async () => {
  const opened = await open();
  expect(roles(opened)).toEqual(["health", "mine"]);
  expect(opened.current().files).toEqual(["platform/policy.yaml", "team/policy.yaml"]);
  expect(status(opened)).toEqual({
    platform: { name: "platform", version: expect.stringMatching(/^[0-9a-f]{12}$/) },
    team: { name: "team", version: expect.stringMatching(/^[0-9a-f]{12}$/) },
  });
  expect(opened.problem()).toBeUndefined();
});

test.each([
  {
    what: "that oversteps",
    text: team("acme/payroll"),
    says: /team\/policy\.yaml:2:\d+: gitlab\/acme\/payroll is no project/,
  },
  { what: "that is no YAML", text: "version: [", says: /team\/policy\.yaml:1/ },
  {
    what: "that claims a name of another",
    text: team("acme/shop").replace("mine", "health"),
    says: /role "health" is here twice/,
  },
  {
    what: "whose own test fails",
    text: team("acme/shop", ownTest.replace("can:", "cannot:")),
    says: /team\/policy\.yaml:4.*ours/,
  },
])("a source $what keeps its last good version, while the others go on", async ({ text, says }) => {
  const opened = await open();
  const { version } = status(opened).team ?? {};
  write("team", text);
  write("platform", platform.replace("GET /health", "GET /alive"));
  await opened.reload();
  expect(status(opened).team).toEqual({ name: "team", version, problem: expect.stringMatching(says) });
  expect(status(opened).platform).not.toHaveProperty("problem");
  expect(JSON.stringify(opened.current().model.roles[0]?.allow)).toContain("GET /alive");
  expect(roles(opened)).toEqual(["health", "mine"]);
  expect(opened.problem()).toMatch(/^source team: refused: /);
  write("team", team("acme/shop", "# well again"));
  await opened.reload();
  expect(opened.problem()).toBeUndefined();
});

test("the last good version outlives a restart, with a broken, an absent and an overstepping source", async () => {
  const { version } = status(await open()).team ?? {};
  for (const text of ["version: [", team("acme/payroll"), undefined]) {
    if (text === undefined) rmSync(join(root, "team"), { recursive: true });
    else write("team", text);
    const again = await open();
    expect([roles(again), status(again).team?.version]).toEqual([["health", "mine"], version]);
    expect(status(again).team?.problem).toBeDefined();
  }
});

test("what is kept is for its owner alone", async () => {
  await open();
  expect(readdirSync(folder()).toSorted()).toEqual(["platform.json", "team.json"]);
  expect(statSync(join(folder(), "team.json")).mode & 0o777).toBe(0o600);
});

test("without a good version of each source nothing starts: its denies would be missing", async () => {
  write("team", "version: [");
  await expect(open()).rejects.toMatchObject({
    code: "policy_invalid",
    message: expect.stringMatching(
      /^Source team has no good version, and what it denies would be missing: team\/policy\.yaml:1/,
    ),
  });
});

test("bounds that became narrower refuse also what was good", async () => {
  await open();
  await expect(open(["gitlab/acme/other"])).rejects.toThrow(/acme\/shop is no project of this source/);
});

test("a kept version that is not whole counts as none", async () => {
  await open();
  writeFileSync(join(folder(), "team.json"), '{"files": [{"na');
  expect(roles(await open())).toEqual(["health", "mine"]);
  write("team", "version: [");
  writeFileSync(join(folder(), "team.json"), '{"files": [{"na');
  await expect(open()).rejects.toThrow(/no good version/);
});

test("an emergency deny is not stopped by another team's test; that it fails is said", async () => {
  write("team", team("acme/shop", ownTest));
  const opened = await open();
  write("platform", denyAll);
  await opened.reload();
  expect(opened.current().model.deny).toHaveLength(1);
  expect(opened.problem()).toMatch(/^source team: in force, but another source changed: team\/policy\.yaml:4/);
  expect(status(opened).platform).not.toHaveProperty("problem");
});

test("what cannot be kept is in force all the same, and said", async () => {
  const opened = await open();
  if (process.getuid?.() === 0) rmSync(folder(), { recursive: true });
  else chmodSync(folder(), 0o500);
  if (process.getuid?.() === 0) writeFileSync(folder(), "");
  write("team", team("acme/shop").replace("mine", "ours"));
  await opened.reload();
  expect(roles(opened)).toContain("ours");
  expect(opened.problem()).toMatch(/source team: in force, but it cannot be kept for a restart/);
});
