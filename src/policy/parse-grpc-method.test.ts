import { expect, test } from "vitest";
import { vocabulary } from "../ci/providers.ts";
import { noCounts } from "../core/decision.ts";
import { noFacts } from "../core/fact.ts";
import { compile } from "./compile.ts";
import { parsePolicy } from "./parse.ts";
import { parseGrpcMethod } from "./parse-grpc-method.ts";
import { session } from "./policy.fake.ts";

test.each([
  ["acme.billing.Invoices/Get", "POST /acme.billing.Invoices/Get"],
  ["Invoices/Get", "POST /Invoices/Get"],
  ["acme.Builds/*", "POST /acme.Builds/*"],
])("%s is %s", (source, request) => {
  const parsed = parseGrpcMethod(source, "http", false);
  expect(parsed).toMatchObject({ ok: true, value: { pattern: { method: "POST", source: request, stream: false } } });
});

test.each([
  ...[
    "",
    "acme.Builds",
    "acme.Builds/",
    "/acme.Builds/Get",
    "acme.Builds/Get/x",
    "acme..Builds/Get",
    "acme.*/Get",
    "*/*",
  ],
  ...[
    "acme.Builds/G*",
    "acme.Builds/${job.id}",
    "acme.Builds/Get ",
    "acme.Builds/Get?x",
    `${"a".repeat(600)}/Get`,
    "9a/Get",
  ],
])("%j is no gRPC method", (source) => {
  expect(parseGrpcMethod(source, "http", false)).toMatchObject({ ok: false, problem: { code: "operation_invalid" } });
});

test.each(["tcp", "nats", "secret", "cloud", "kubernetes"] as const)("a %s target has none", (kind) => {
  const parsed = parseGrpcMethod("acme.Builds/Get", kind, false);
  expect(parsed).toMatchObject({ ok: false, problem: { code: "operation_wrong_kind" } });
});

function policyOf(allow: string) {
  const text = `version: 1
targets: { builds: { http: { hosts: [builds.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles: { watch: { for: shop, allow: { builds: ${allow} } } }`;
  return parsePolicy({
    files: [{ name: "policy.yaml", text }],
    vocabulary,
    issuers: [{ name: "gitlab", type: "gitlab" }],
  });
}

const decided = (allow: string, path: string, stream: boolean, method = "POST") => {
  const { model } = policyOf(allow);
  if (model === undefined) throw new TypeError("the policy does not parse");
  const operation = { kind: "http", method, host: "builds.internal", path, stream } as const;
  return compile(model, vocabulary).decide(
    { session: session(), narrowing: {}, target: "builds", operation, facts: noFacts, now: 1_000_001 },
    noCounts,
  ).reason;
};

test.each([
  ["/acme.Builds/Get", false, "allowed"],
  ["/acme.Builds/Get", true, "stream_refused"],
  ["/acme.Builds/Put", false, "no_role"],
  ["/acme.Builds", false, "no_role"],
  ["/acme.Builds/Get/x", false, "no_role"],
  ["/acme.builds/Get", false, "no_role"],
  ["/acme.Builds/get", false, "no_role"],
  ["/acme.Watch/Any", true, "allowed"],
  ["/acme.Watch/", true, "no_role"],
  ["/acme.WatchX/Any", true, "no_role"],
])("%s, a stream: %j: %s", (path, stream, reason) => {
  const allow = "[{ grpc: [acme.Builds/Get] }, { grpc: [acme.Watch/*], stream: true }]";
  expect(decided(allow, path, stream)).toBe(reason);
  expect(decided(allow, path, stream, "GET")).toBe("no_role");
});

test("a mistake is shown where it stands", () => {
  const { model, diagnostics } = policyOf("[{ grpc: [acme.Builds/Get, acme.Builds] }]");
  expect(model).toBeUndefined();
  expect(diagnostics).toMatchObject([{ code: "operation_invalid", place: { line: 4, length: 11 } }]);
});
