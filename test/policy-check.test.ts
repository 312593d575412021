import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import type { Diagnostic } from "../src/policy/model.ts";

/** Ten different mistakes in one file: what `wayleave policy check` says of them to people, scripts and CI. */
const text = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
  events: { nats: { account: CI } }
  wiki: { http: { hosts: ["https://wiki.internal"] } }
who:
  shop: { gitlab: { project: acme/shop } }
  deploy: { gitlab: { project: acme/shop, ref_protected: "yes" } }
  smoke: { buildkite: { organization: acme, pipelin: shop-e2e } }
roles:
  read:
    for: [shop, shopp]
    allow: { biling: [GET /v1/invoices/**] }
  release:
    for: [shop]
    when: change.merged && change.approvals >= "one"
    ttl: 3d
    allow:
      billing: [POST /v1//releases]
      events: ["pub build.\${job.projct_id}"]
  everybody:
    for: [{ gitlab: { ref: trunk } }]
    allow: { billing: [GET /] }
`;

/** The text each diagnostic must point at: unique in the file, so its place is what the file says it is. */
const mistakes = [
  "https://wiki.internal",
  '"yes"',
  "pipelin",
  "shopp",
  "biling",
  '"one"',
  "3d",
  "//releases",
  "job.projct_id",
  "{ gitlab: { ref: trunk } }",
];

const directory = mkdtempSync(join(tmpdir(), "wayleave-check-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = join(directory, "policy.yaml");
const bin = fileURLToPath(new URL("../bin/wayleave", import.meta.url));

async function check(...more: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { PATH: process.env.PATH };
  const run = promisify(execFile)(bin, ["policy", "check", file, ...more], { env, cwd: directory });
  const {
    code = 0,
    stdout,
    stderr,
  } = (await run.catch((error: unknown) => error)) as {
    code?: number;
    stdout: string;
    stderr: string;
  };
  return { code, stdout, stderr };
}

/** `line:column`, from 1, of each mistake. */
const places = mistakes.map((snippet) => {
  const before = text.slice(0, text.indexOf(snippet)).split("\n");
  return { snippet, line: before.length, from: (before.at(-1) ?? "").length + 1 };
});

test("the file is what it says: ten mistakes, each at one place", () => {
  expect(mistakes).toHaveLength(10);
  for (const snippet of mistakes) expect([snippet, text.split(snippet).length]).toEqual([snippet, 2]);
});

test("ten mistakes are ten diagnostics, each of its own code and pointing into its mistake, and the exit status is 2", async () => {
  writeFileSync(file, text);
  const { code, stdout } = await check("--json");
  const { ok, diagnostics } = JSON.parse(stdout) as { ok: boolean; diagnostics: readonly Diagnostic[] };
  expect([code, ok]).toEqual([2, false]);
  const errors = diagnostics.filter(({ severity }) => severity === "error");
  expect(errors).toHaveLength(10);
  for (const { snippet, line, from } of places) {
    const at = errors.filter(({ place }) => place.line === line && pointsInto(place, from, snippet.length));
    expect([snippet, at.length]).toEqual([snippet, 1]);
    expect(at[0]?.code).toMatch(/^[a-z]+(_[a-z]+)+$/);
    expect(at[0]?.message).not.toBe("");
  }
});

/** Begins within the mistake, or just before it where it is a piece of a longer word. */
function pointsInto(
  place: { readonly column: number; readonly length: number },
  from: number,
  length: number,
): boolean {
  return place.column < from + length && place.column + place.length > from;
}

test("people see the same ten, with file, line, column, the line itself and what is underlined", async () => {
  const { code, stdout, stderr } = await check();
  const said = stripped(stderr);
  expect([code, stdout]).toEqual([2, ""]);
  expect(said.match(/^error\[[a-z_]+\]: /gm)).toHaveLength(10);
  for (const { line } of places) {
    expect(said).toMatch(new RegExp(`policy\\.yaml:${line}:\\d+\\n${line} │ `));
    expect(said).toContain(`${line} │ ${text.split("\n")[line - 1]}`);
  }
  expect(said).toContain('did you mean "shop"?');
  expect(said).toContain("10 errors");
});

/** Line numbers stand right in a column of their own. */
const stripped = (output: string) => output.replaceAll(/^ +(?=\d+ │)/gm, "");

test("an unknown key is a mistake too, and one mistake is enough for exit status 2", async () => {
  writeFileSync(
    file,
    `${text.slice(0, text.indexOf("  wiki:"))}who: { shop: { gitlab: { project: acme/shop } } }
roles: { read: { for: [shop], allow: { billing: [GET /] } } }
deny:
  - { for: shop, target: [billing], because: no }
`,
  );
  const { code, stderr } = await check();
  expect(code).toBe(2);
  expect(stderr).toContain('did you mean "targets"?');
});

test("without a mistake the exit status is 0, and --json says which policy it is", async () => {
  writeFileSync(
    file,
    `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
roles: { read: { for: [{ gitlab: { project: acme/shop } }], allow: { billing: [GET /] } } }
`,
  );
  const { code, stdout } = await check("--json");
  expect([code, JSON.parse(stdout)]).toEqual([
    0,
    { ok: true, version: expect.stringMatching(/^[0-9a-f]{4,}$/), diagnostics: [] },
  ]);
});
