import { readFileSync } from "node:fs";
import { pino } from "pino";
import { afterAll, expect, test } from "vitest";
import { createJobClient } from "../demo/job-client.ts";
import { vocabulary } from "../src/ci/providers.ts";
import { loadConfig } from "../src/config/load.ts";
import { noCounts } from "../src/core/decision.ts";
import { noFacts } from "../src/core/fact.ts";
import type { JobIdentity } from "../src/core/identity.ts";
import type { Question } from "../src/gateway/decision-point.ts";
import { compile } from "../src/policy/compile.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { startServer } from "../src/server.ts";
import { startCrashCi, startJob } from "./broker-crash-load.ts";
import { installBroker } from "./broker-installation.ts";
import { hostileSuite } from "./nginx-hostile-suite.ts";
import { askOperator } from "./operator.ts";

/** The hostile corpus against the whole chain: real NGINX, a real broker with a real session, a compiled policy. */
const policyText = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read: { for: [shop], allow: { billing: ["GET /v1/**"] } }
`;

let ci: Awaited<ReturnType<typeof startCrashCi>> | undefined;
const installation = await installBroker({
  policy: policyText,
  targets: ["billing"],
  ci: async (url) => {
    ci = await startCrashCi(url);
    return ci.part;
  },
});
if (ci === undefined) throw new TypeError("the installation has a CI");
const { gitlab } = ci;
const loaded = loadConfig({ path: installation.configPath, env: {} });
if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
const broker = await startServer(loaded.config, { log: pino({ level: "silent" }) });
const client = createJobClient(installation.url, "");
const { body } = await client.exchange(await gitlab.idToken(startJob(ci), { aud: installation.url }));
const token = String(body.access_token);
const { body: session } = await askOperator<{ identity: JobIdentity }>(
  { broker },
  "GET",
  `/v1/sessions/${body.session_id}`,
);

const { model } = parsePolicy({
  files: [{ name: "policy.yaml", text: readFileSync(`${installation.policyPath}/policy.yaml`, "utf8") }],
  vocabulary,
  issuers: [{ name: "gitlab", type: "gitlab" }],
});
if (model === undefined) throw new TypeError("the broker has loaded this policy already");
const policy = compile(model, vocabulary);

afterAll(async () => {
  await client.close();
  await broker.close();
  await gitlab.close();
  installation.remove();
});

/** The decision function alone, on what the upstream understood. */
function refuses({ authorization, target, operation }: Question): string | undefined {
  const now = Date.now();
  if (authorization !== `Bearer ${token}`) return "no_credential";
  const { identity } = session;
  const view = { id: "ses_0000000000000000", identity, state: "active", openedAt: now, hardEndAt: now + 1000 } as const;
  const decision = policy.decide({ session: view, narrowing: {}, target, operation, facts: noFacts, now }, noCounts);
  return decision.effect === "allow" ? undefined : decision.reason;
}

test("the session that the corpus speaks for is real", () => {
  expect(session.identity.project.path).toBe("acme/shop");
  const operation = { kind: "http", method: "GET", host: "billing.internal", path: "/v1/a", stream: false } as const;
  const question = { gateway: "edge-1", target: "billing", authorization: `Bearer ${token}` };
  expect(refuses({ ...question, operation })).toBeUndefined();
  expect(refuses({ ...question, operation: { ...operation, path: "/admin" } })).toBe("no_role");
});

hostileSuite({
  policy,
  decisionPoint: { url: installation.url, gatewaySecret: installation.gatewaySecret },
  refuses,
  token,
});
