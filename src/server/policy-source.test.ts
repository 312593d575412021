import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openPolicySource, PolicyRefused } from "./policy-source.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-policy-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (spiffeId: string) =>
  writeFileSync(
    join(folder, "policy.yaml"),
    `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
roles:
  release: { for: { gitlab: { project: acme/shop } }, spiffe_id: "${spiffeId}", allow: { billing: [GET /] } }
`,
  );
const open = () =>
  openPolicySource({
    path: folder,
    issuers: [{ name: "gitlab", type: "gitlab" }],
    spiffe: { trustDomain: "acme.example", prefixes: ["spiffe://acme.example/ns/ci"] },
    now: () => 0,
  });

test("a role may name a SPIFFE ID under a listed prefix", async () => {
  write("spiffe://acme.example/ns/ci/sa/release");
  expect((await open()).current().model.roles[0]?.spiffeId).toBe("spiffe://acme.example/ns/ci/sa/release");
});

test.each([
  { what: "outside the prefixes", id: "spiffe://acme.example/ns/bank/sa/ledger" },
  { what: "of a look-alike of a prefix", id: "spiffe://acme.example/ns/cicero/sa/x" },
  { what: "of another trust domain", id: "spiffe://evil.example/ns/ci/sa/release" },
  { what: "of a gateway", id: "spiffe://acme.example/gateway/edge-1" },
])("a role that names one $what keeps the policy out, and says where", async ({ id }) => {
  write(id);
  const refused = await open().catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(PolicyRefused);
  const [diagnostic] = (refused as PolicyRefused).diagnostics;
  expect(diagnostic).toMatchObject({ code: "spiffe_id_not_allowed", place: { line: 4 } });
});

test("a reload that names one keeps the running policy", async () => {
  write("spiffe://acme.example/ns/ci/sa/release");
  const source = await open();
  const { version } = source.current().policy;
  write("spiffe://acme.example/role/other");
  await expect(source.reload()).rejects.toMatchObject({ code: "policy_invalid" });
  expect(source.current().policy.version).toBe(version);
  expect(source.problem()).toContain("role release names spiffe://acme.example/role/other");
});
