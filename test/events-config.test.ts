import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { stringify } from "yaml";
import { loadConfig } from "../src/config/load.ts";
import { startServer } from "../src/server.ts";

const policy = `
version: 1
targets:
  events: { nats: { account: CI } }
  own: { nats: { account: "P_\${job.project_id}" } }
  billing: { http: { hosts: [billing.internal] } }
who:
  shop: { gitlab: { project: acme/shop } }
roles:
  tell:
    for: [shop]
    allow: { events: ["pub image.pushed.*"] }
events:
  deploy-image:
    for: [shop]
    on: { target: events, stream: IMAGES, subject: "image.pushed.*" }
    start: { gitlab: { project: acme/deploy, ref: main } }
`;

/** Nothing of it is ever asked: the start is refused before. */
const issuer = {
  ...{ name: "gitlab", type: "gitlab", url: "https://gitlab.invalid" },
  start: { projects: { "acme/deploy": { token_file: "trigger.token" } } },
};
const webhook = { name: "all", projects: ["1"], token_file: "trigger.token" };
const gateway = {
  ...{ name: "bus", kind: "nats", targets: ["events", "own"], secret_file: "bus.secret" },
  ...{ listen: "127.0.0.1:0", servers: ["nats://127.0.0.1:4222"] },
};
const needs = "which needs a NATS gateway with authentication: operator and without direct.";

test.each<{ what: string; issuers: object[]; gateways?: object[]; says: string }>([
  {
    what: "an issuer without start",
    issuers: [{ ...issuer, start: undefined }],
    says: "Event deploy-image starts pipelines at gitlab, which has no credential for it; set start of that issuer.",
  },
  {
    what: "trigger tokens of other projects only",
    issuers: [{ ...issuer, start: { projects: { "acme/other": { token_file: "trigger.token" } } } }],
    says: "Event deploy-image starts pipelines of acme/deploy, for which there is no trigger token; add it to start.projects of issuer gitlab.",
  },
  {
    what: "a gateway in config mode",
    issuers: [issuer],
    gateways: [{ ...gateway, authentication: "config" }],
    says: `Event deploy-image listens at target events, ${needs}`,
  },
  {
    what: "a direct gateway",
    issuers: [issuer],
    gateways: [{ ...gateway, direct: true }],
    says: `Event deploy-image listens at target events, ${needs}`,
  },
  {
    what: "a gateway before another target",
    issuers: [issuer],
    gateways: [{ ...gateway, targets: ["own"] }],
    says: `Event deploy-image listens at target events, ${needs}`,
  },
  {
    what: "a webhook that publishes where policy has no target",
    issuers: [{ ...issuer, webhooks: [{ ...webhook, events: "nowhere" }] }],
    says: "Webhook all of issuer gitlab publishes at target nowhere, which is no NATS target of policy with one account.",
  },
  {
    what: "a webhook that publishes in an account for each job",
    issuers: [{ ...issuer, webhooks: [{ ...webhook, events: "own" }] }],
    says: "Webhook all of issuer gitlab publishes at target own, which is no NATS target of policy with one account.",
  },
  {
    what: "a webhook that publishes at an HTTP service",
    issuers: [{ ...issuer, webhooks: [{ ...webhook, events: "billing" }] }],
    says: "Webhook all of issuer gitlab publishes at target billing, which is no NATS target of policy with one account.",
  },
])("a broker with events and $what does not start, and says why", async ({ issuers, gateways = [gateway], says }) => {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-events-config-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "wayleave.yaml");
  const file = {
    ...{ issuer: "http://127.0.0.1:8700", trust_domain: "acme.example", listen: { address: "127.0.0.1:0" } },
    ...{ data: "./data", policy: "./policy.yaml", keys: { encryption_key_file: "encryption.key" } },
    ...{ issuers, gateways },
  };
  const texts = {
    "policy.yaml": policy,
    "encryption.key": randomBytes(32).toString("base64"),
    "trigger.token": "glptt-0123456789",
    "bus.secret": randomBytes(24).toString("base64url"),
    "wayleave.yaml": stringify(file, { aliasDuplicateObjects: false, keepUndefined: false }),
  };
  for (const [name, text] of Object.entries(texts)) writeFileSync(join(directory, name), text, { mode: 0o600 });
  const loaded = loadConfig({ path, env: {} });
  if (!("config" in loaded)) throw new TypeError(loaded.diagnostics.map(({ message }) => message).join("; "));
  const started = startServer(loaded.config, { log: pino({ level: "silent" }) });
  await expect(started).rejects.toMatchObject({ code: "config_invalid", message: says });
});
