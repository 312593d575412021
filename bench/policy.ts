import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vocabulary } from "../src/ci/providers.ts";
import { readPolicyFiles } from "../src/config/policy-files.ts";
import { compile } from "../src/policy/compile.ts";
import { diffPolicies } from "../src/policy/diff.ts";
import { Findings } from "../src/policy/findings.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { runTests } from "../src/policy/run-tests.ts";
import { readSource } from "../src/policy/source.ts";
import { machine, table } from "./machine.ts";

/** What `policy check` does with 10,000 roles in 9 files, step by step, and a diff of two such policies. */
const roles = 10_000;
const files = 8;
const issuers = [{ name: "gitlab", type: "gitlab" }] as const;

async function main(): Promise<void> {
  console.log(`policy of ${roles} roles with conditions, in CPU ms (wall ms)\n${machine()}\n`);
  const folder = mkdtempSync(join(tmpdir(), "wayleave-bench-policy-"));
  try {
    writePolicy(folder);
    const texts = await readPolicyFiles(folder);
    const rows = [["", "CPU ms", "wall ms"]];
    const step = <T>(name: string, work: () => T): T => {
      const [cpu, start] = [process.cpuUsage(), performance.now()];
      const done = work();
      const { user, system } = process.cpuUsage(cpu);
      rows.push([name, ((user + system) / 1000).toFixed(0), (performance.now() - start).toFixed(0)]);
      return done;
    };
    step("reading YAML alone", () => texts.files.map(({ name, text }) => readSource(name, text, new Findings())));
    const { model } = step("parse and check", () => parsePolicy({ ...texts, vocabulary, issuers }));
    if (model === undefined) throw new TypeError("the policy is valid");
    const policy = step("compile", () => compile(model, vocabulary));
    step("its tests", () => runTests(policy, model));
    const types = new Map(issuers.map(({ name, type }) => [name, type]));
    const less = {
      ...model,
      roles: model.roles.map((role, at) => (at % 100 === 0 ? { ...role, ttlSeconds: 60 } : role)),
    };
    step("diff with 100 roles changed", () => diffPolicies(model, less, { types, vocabulary }));
    console.log(table(rows));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function writePolicy(folder: string): void {
  const targets = Array.from({ length: 100 }, (_, at) => `  t${at}: { http: { hosts: [t${at}.internal] } }\n`);
  writeFileSync(join(folder, "targets.yaml"), `version: 1\ntargets:\n${targets.join("")}`);
  for (let file = 0; file < files; file++) {
    const own = Array.from({ length: roles / files }, (_, at) => file * (roles / files) + at);
    const who = own.map((at) => `  w${at}: { gitlab: { project: acme/p${at}, ref: main, ref_protected: true } }\n`);
    const list = own.map(
      (at) => `  r${at}:
    for: [w${at}]
    when: change.merged && change.approvals >= ${at % 3}
    ttl: 10m
    allow: { t${at % 100}: [GET /v1/x${at}/**, POST /v1/releases] }
`,
    );
    writeFileSync(join(folder, `part-${file}.yaml`), `version: 1\nwho:\n${who.join("")}roles:\n${list.join("")}`);
  }
}

await main();
