import { expect, test } from "vitest";
import type { StatusResponse } from "../api/contract.ts";
import type { Config } from "../config/config.ts";
import { summary } from "./serve.ts";

const config: Config = {
  file: "/etc/wayleave/wayleave.yaml",
  issuer: "https://wayleave.example",
  trustDomain: "acme.example",
  listen: { host: "127.0.0.1", port: 8700, behindTlsProxy: true },
  dataDir: "/var/lib/wayleave",
  policyPath: "/etc/wayleave/policy",
  keys: { encryptionKey: "never printed" },
  sessions: { maxMs: 1, tokenTtlMs: 1 },
  spiffe: { svidTtlMs: 900_000, prefixes: [], federatesWith: [] },
  approvers: [],
  issuers: [{ name: "gitlab", type: "gitlab", audience: "https://wayleave.example", webhooks: [] }],
  gateways: [
    {
      name: "edge-1",
      kind: "nginx",
      targets: ["billing", "events"],
      secret: "never printed",
      brokerUrl: "http://127.0.0.1:8700",
      cacheMs: 0,
      njs: false,
    },
  ],
  durable: "within_50ms",
  log: { level: "info" },
};

const status: StatusResponse = {
  version: "0.1.0",
  policy: { version: "41c0", loaded_at: "2026-11-24T09:00:00.000Z", observed: ["events"], shared: ["billing"] },
  issuers: [{ name: "gitlab", url: "https://gitlab.example", keys: 2 }],
  sessions: { active: 0, suspended: 0 },
};

const text = (of: Config, says: StatusResponse) =>
  summary(of, "http://127.0.0.1:8700", "/var/lib/wayleave/admin.sock", says).map(
    (line) => `${line.label}: ${line.text}`,
  );

test("a broker says what it listens on, trusts, enforces, observes and lets pass, what is missing, and that it waits", () => {
  expect(text(config, status)).toEqual([
    "listens: http://127.0.0.1:8700, known to jobs as https://wayleave.example",
    "operators: /var/lib/wayleave/admin.sock",
    "trusts: gitlab  https://gitlab.example  2 keys",
    "policy: 41c0",
    "enforces: billing  at edge-1 (nginx)",
    "observes: events: recorded, and let through",
    "passes: billing: some routes need no identity",
    "missing: gitlab has no API credential: facts such as change.merged are missing, and no job is looked up",
    "missing: gitlab has no webhook: a job's end is noticed by wayleave end, lease or expiry",
    "waiting: no job seen yet",
  ]);
});

test("an issuer out of reach, a refused policy and no gateway are said", () => {
  const said = text(
    { ...config, gateways: [] },
    {
      ...status,
      issuers: [{ name: "gitlab", url: "https://gitlab.example", keys: 0, problem: "unreachable" }],
      policy: { ...status.policy, problem: "2 problems" },
    },
  );
  expect(said).toContain("trusts: gitlab  https://gitlab.example  unreachable");
  expect(said).toContain("policy: 41c0; what is on disk was refused: 2 problems");
  expect(said).toContain("missing: no gateway is configured: nothing asks for decisions");
});
