import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { createPrivateCa } from "../demo/gitlab/certificate.ts";
import { vocabulary } from "../src/ci/providers.ts";
import { Input } from "../src/cli/command.ts";
import { doctor } from "../src/cli/doctor.ts";
import type { CheckResult } from "../src/cli/doctor-checks.ts";
import { fakeIo } from "../src/cli/job/command-io.fake.ts";
import { renderEnvoy } from "../src/gateway/envoy/render.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";

const policy = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read-billing: { for: [shop], allow: { billing: ["GET /v1/invoices/**"] } }
`;

let installation: BrokerInstallation;
const servers: Server[] = [];

async function listen(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** How far the CI's clock is ahead, ms. */
let ciAheadMs = 0;

beforeEach(async () => {
  ciAheadMs = 0;
  const issuer = await listen((_request, response) => {
    response.setHeader("Date", new Date(Date.now() + ciAheadMs).toUTCString());
    response.end("{}");
  });
  installation = await installBroker({
    policy,
    targets: ["billing"],
    ci: async () => ({ issuer: { name: "gitlab", type: "gitlab", url: issuer }, files: {} }),
  });
});

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  installation.remove();
});

/** The broker does not run: what needs it is skipped. */
async function run(options: Readonly<Record<string, unknown>> = {}) {
  const io = fakeIo({}, installation.directory);
  const input = new Input([], { config: installation.configPath, json: true, ...options });
  const status = await doctor.run(io, input);
  const { checks } = JSON.parse(io.out()) as { checks: readonly CheckResult[] };
  return { status, of: (name: string) => checks.find((check) => check.name === name) };
}

function file(name: string, text: string): string {
  const path = join(installation.directory, name);
  writeFileSync(path, text);
  return path;
}

/** Where gateways find the broker's keys. */
function brokerAt(url: string): void {
  const config = parse(readFileSync(installation.configPath, "utf8")) as { gateways: object[] };
  config.gateways = config.gateways.map((gateway) => ({ ...gateway, broker_url: url }));
  writeFileSync(installation.configPath, stringify(config));
}

const goodKeys: RequestListener = ({ url }, response) => {
  response.setHeader("cache-control", "public, max-age=300");
  response.statusCode = url === "/oauth2/jwks" ? 200 : 404;
  response.end('{"keys":[{}]}');
};

describe("wayleave doctor", () => {
  test("with nothing named checks clocks and keys, skips the rest, and prints one line for each", async () => {
    brokerAt(await listen(goodKeys));
    const { status, of } = await run();
    expect(status).toBe(0);
    expect(of("clock_issuer")?.result).toBe("ok");
    expect(of("jwks_reachable")?.result).toBe("ok");
    expect(of("keys_overlap")).toMatchObject({ result: "skipped", needs: "a running broker" });
    expect(of("route_priority")?.result).toBe("skipped");
  });

  test("measures the CI's clock", async () => {
    brokerAt(await listen(goodKeys));
    ciAheadMs = 90_000;
    const { status, of } = await run();
    expect(status).toBe(3);
    expect(of("clock_issuer")?.findings[0]?.says).toMatch(/gitlab's clock is (89|90|91) s ahead/);
  });

  test.each([
    { why: "no answer", answer: (_: unknown, response: { destroy(): void }) => response.destroy() },
    {
      why: "a fault",
      answer: (_: unknown, response: { writeHead(status: number): { end(): void } }) => response.writeHead(502).end(),
    },
    { why: "a page", answer: (_: unknown, response: { end(text: string): void }) => response.end("<html>") },
  ])("finds that a gateway cannot have the keys: $why", async ({ answer }) => {
    brokerAt(await listen(answer as unknown as RequestListener));
    const { status, of } = await run();
    expect(status).toBe(3);
    expect(of("jwks_reachable")).toMatchObject({
      result: "fail",
      findings: [{ fix: expect.stringContaining("broker_url of edge-1") }],
    });
  });

  test("finds what an nginx.conf lets past, with the place", async () => {
    brokerAt(await listen(goodKeys));
    const nginxConf = file(
      "nginx.conf",
      "events {}\nhttp {\n  server {\n    server_name billing.internal;\n    location / { proxy_pass http://127.0.0.1:1; }\n  }\n}\n",
    );
    const { status, of } = await run({ nginxConf });
    expect(status).toBe(3);
    expect(of("route_priority")).toMatchObject({ result: "fail" });
    expect(of("route_priority")?.findings[0]?.says).toMatch(/nginx\.conf:\d+: /);
  });

  test("finds an Envoy that fails open, in YAML", async () => {
    brokerAt(await listen(goodKeys));
    const envoyConfig = [
      file("envoy.yaml", "http_filters:\n  - name: x\n    typed_config: { failure_mode_allow: true }\n"),
    ];
    expect((await run({ envoyConfig })).of("fails_closed_envoy")).toMatchObject({ result: "fail" });
    await expect(run({ envoyConfig: [file("bad.yaml", "a: [")] })).rejects.toMatchObject({ code: "invalid_request" });
  });

  test("finds PERMISSIVE mode", async () => {
    brokerAt(await listen(goodKeys));
    const resources = [
      file(
        "mesh.yaml",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: default, namespace: bank }\nspec: { mtls: { mode: PERMISSIVE } }\n",
      ),
    ];
    const { status, of } = await run({ resources });
    expect(status).toBe(3);
    expect(of("mesh_permissive")).toMatchObject({ result: "fail" });
  });

  test.each([
    { why: "in order", order: (leaf: string, ca: string) => leaf + ca, result: "ok" },
    { why: "the authority first", order: (leaf: string, ca: string) => ca + leaf, result: "fail" },
    { why: "of another authority", order: (leaf: string) => leaf + createPrivateCa(Date.now()).ca, result: "fail" },
    { why: "damaged", order: () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", result: "fail" },
    { why: "no certificate", order: () => "hello", result: "fail" },
  ])("reads a certificate chain: $why", async ({ order, result }) => {
    brokerAt(await listen(goodKeys));
    const authority = createPrivateCa(Date.now());
    const certificate = [file("chain.pem", order(authority.issue(["billing.internal"]).cert, authority.ca))];
    expect((await run({ certificate })).of("certificate_order")?.result).toBe(result);
  });

  test("finds an expired certificate", async () => {
    brokerAt(await listen(goodKeys));
    const authority = createPrivateCa(Date.now() - 60 * 86_400_000);
    const certificate = [file("chain.pem", authority.issue(["billing.internal"]).cert)];
    expect((await run({ certificate })).of("certificate_validity")).toMatchObject({ result: "fail" });
  });

  test.each([
    { status: 401, result: "ok" },
    { status: 200, result: "fail" },
  ])("probes a gateway that answers $status", async ({ status, result }) => {
    brokerAt(await listen(goodKeys));
    const asked: (string | undefined)[] = [];
    const gateway = await listen((request, response) => {
      asked.push(`${request.headers.host} ${request.headers.authorization ?? ""}`);
      response.writeHead(status).end();
    });
    expect((await run({ probe: [gateway] })).of("answers_without_asking")?.result).toBe(result);
    expect(asked.toSorted()).toEqual(["billing.internal ", "billing.internal ", "billing.internal Bearer garbage"]);
  });

  test.each(["native", "call_out"] as const)("finds nothing in what render envoy writes: %s", async (mode) => {
    brokerAt(await listen(goodKeys));
    const text = `${policy.replace("who:", "  review: { http: { hosts: [review.internal] }, mode: observe }\nwho:")}`;
    const { model } = parsePolicy({
      files: [{ name: "policy.yaml", text }],
      vocabulary,
      issuers: [{ name: "gitlab", type: "gitlab" }],
    });
    if (model === undefined) throw new TypeError("the policy is wrong");
    const at = (port: number) => ({ host: "127.0.0.1", port });
    const { files } = renderEnvoy({
      policy: model,
      issuer: "https://wayleave.example",
      trustDomain: "acme.example",
      tokenTtlMs: 300_000,
      gateway: {
        name: "edge-2",
        targets: ["billing", "review"],
        mode,
        protocol: "grpc",
        brokerUrl: "http://127.0.0.1:8700",
        grpc: { ...at(8701), tls: false },
        revocation: "grpc",
        keyCacheMs: 60_000,
        behind: [],
        listen: at(10000),
        upstreams: { billing: at(1), review: at(2) },
      },
    });
    const envoyConfig = files.filter(({ path }) => path.endsWith("yaml")).map(({ path, text }) => file(path, text));
    const { of } = await run({ envoyConfig });
    expect(envoyConfig).not.toEqual([]);
    expect(of("fails_closed_envoy")).toEqual({ name: "fails_closed_envoy", result: "ok", findings: [] });
    expect(of("route_priority")).toEqual({ name: "route_priority", result: "ok", findings: [] });
  });

  test("says which file cannot be read", async () => {
    brokerAt(await listen(goodKeys));
    for (const option of [
      { nginxConf: "none" },
      { envoyConfig: ["none"] },
      { resources: ["none"] },
      { certificate: ["none"] },
    ]) {
      await expect(run(option)).rejects.toMatchObject({
        code: "invalid_request",
        message: expect.stringContaining("none"),
      });
    }
  });
});
