import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { policyModel, role, target } from "../../policy/policy.fake.ts";
import { lintIstio } from "./lint.ts";
import { renderMeshConfig } from "./mesh-config.ts";
import { renderIstio } from "./render.ts";

const folder = new URL("testdata/lint/", import.meta.url);
const names = readdirSync(folder);
const workloads = [{ target: "billing", namespace: "bank", labels: { app: "billing", version: "v1" } }];

function lint(text: string) {
  const asksForWorkloads = text.startsWith("# with workloads");
  return lintIstio({ files: [{ file: "mesh.yaml", text }], ...(asksForWorkloads ? { workloads } : {}) });
}

/** One finding as a golden line: severity, code, where, and the text that is underlined. */
function golden(text: string): string {
  return lint(text)
    .map(({ severity, code, place }) => {
      const underlined = (text.split("\n")[place.line - 1] ?? "").slice(
        place.column - 1,
        place.column - 1 + place.length,
      );
      return `${severity} ${code} ${place.line}:${place.column} ${underlined}\n`;
    })
    .join("");
}

const inputOf = (name: string) => readFileSync(new URL(name, folder), "utf8").split("----------\n");
const codeOf = (name: string) => name.split(".")[0] ?? "";

test("there are goldens", () => {
  expect(names.length).toBeGreaterThan(25);
});

test.each(names)("%s", (name) => {
  const [input = "", expected] = inputOf(name);
  expect(golden(input)).toBe(expected);
  if (name.includes(".good.")) expect(expected).toBe("");
  else expect(expected).toContain(` ${codeOf(name)} `);
});

test("every finding says what is wrong and what to do", () => {
  const found = names.flatMap((name) => lint(inputOf(name)[0] ?? ""));
  expect(found.filter(({ help, message }) => !help || message.length < 20)).toEqual([]);
});

test("the guide's table and the codes with a failing example are the same", () => {
  const guide = readFileSync(new URL("../../../docs/guides/mesh.md", import.meta.url), "utf8");
  const section = guide.split("## What the lint finds in Istio's resources")[1]?.split("\n## ")[0] ?? "";
  const written = [...section.matchAll(/`([a-z]+(?:_[a-z]+)+)`/g)].map(([, code]) => code);
  const shown = names.filter((name) => name.includes(".bad.")).map(codeOf);
  expect([...new Set(written)].toSorted()).toEqual([...new Set(shown)].toSorted());
});

test("what is rendered passes, with the part of MeshConfig", () => {
  const model = policyModel({
    targets: [target("billing")],
    roles: [role("read", { billing: ["GET /v1/**"] }), role("own", { billing: ["GET /p/${job.project_id}"] })],
  });
  const coordinate = "A".repeat(43);
  const gateway = {
    name: "mesh",
    targets: ["billing"],
    brokerUrl: "https://wayleave.acme.example",
    mode: "native",
    namespace: "bank",
    workloads: [{ target: "billing", labels: { app: "billing" }, port: 8080 }],
    meshTrustDomain: "cluster.local",
  } as const;
  const jwks = { keys: [{ kty: "EC", crv: "P-256", kid: "k1", x: coordinate, y: coordinate }] };
  const { files } = renderIstio({ gateway, model, issuer: "https://wayleave.acme.example", jwks });
  const mesh = renderMeshConfig({ gateway, model, secret: "0123456789abcdef" });
  const all = [...files.map(({ path, text }) => ({ file: path, text })), { file: "mesh-config.yaml", text: mesh }];
  expect(lintIstio({ files: all, workloads })).toEqual([]);
  const withoutMesh = lintIstio({ files: all.slice(0, -1), workloads });
  expect(withoutMesh.map(({ code }) => code)).toEqual(["unknown_provider"]);
});

test("no text makes it throw", () => {
  for (const text of [
    "",
    "---\n---\n",
    "[]",
    "kind: AuthorizationPolicy",
    "kind: AuthorizationPolicy\nspec: 7",
    "a: &a [*a]",
    "kind: List\nitems: 3",
    "\t",
    "kind: PeerAuthentication\nspec: { portLevelMtls: [1] }",
    "{",
    "kind: RequestAuthentication\nspec: { jwtRules: [3, null] }",
  ]) {
    expect(() => lint(text)).not.toThrow();
  }
});
