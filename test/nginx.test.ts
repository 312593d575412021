import { spawn, spawnSync } from "node:child_process";
import { Agent, request as httpRequest } from "node:http";
import { rootCertificates } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { type FakePolicy, fakeDecisionPoint } from "../src/gateway/nginx/decision-point.fake.ts";
import { fakePolicy } from "../src/gateway/nginx/policy.fake.ts";
import { renderNginx, renderSecret } from "../src/gateway/nginx/render.ts";
import type { NginxGatewaySettings } from "../src/gateway/nginx/settings.ts";
import { type Lab, type LabOptions, request, startLab } from "./nginx-lab.ts";
import { testNginx } from "./real-nginx.ts";

const rights: FakePolicy["rights"] = [
  { token: "good", target: "billing", hosts: ["billing.internal"], methods: ["GET"], prefix: ["v1"] },
];
const bearer = { Authorization: "Bearer good" };
const everywhere = (upstream: string) =>
  `location / { include @lab/wayleave/wayleave-location-billing.conf; proxy_pass ${upstream}; }`;

let lab: Lab | undefined;
afterEach(async () => {
  await lab?.stop();
  lab?.nginx.remove();
  lab = undefined;
});

async function start(policy: Partial<FakePolicy> = {}, options: Partial<LabOptions> = {}) {
  const point = fakeDecisionPoint({ rights, ...policy });
  const mode = policy.observed ? "observe" : "enforce";
  lab = await startLab({
    policy: fakePolicy([{ name: "billing", mode, sharesRoutes: policy.shared !== undefined }]),
    decisionPoint: point,
    server: everywhere,
    ...options,
  });
  return { lab, point, port: lab.nginx.port };
}

/** One header of what the upstream served, by its exact name. */
function told(served: { readonly rawHeaders: readonly string[] } | undefined, name: string): string | undefined {
  const at = served?.rawHeaders.findIndex((text, index) => index % 2 === 0 && text === name) ?? -1;
  return at === -1 ? undefined : served?.rawHeaders[at + 1];
}

test("an allowed request reaches the upstream with the verified identity and without the token", async () => {
  const { lab, port } = await start({ asserted: ["billing"] });
  const answer = await request(port, "GET /v1/invoices/42?full=1", {
    ...bearer,
    "X-Wayleave-Subject": "spoofed",
    "Txn-Token": "spoofed",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  });
  expect(answer.status).toBe(200);
  expect(lab.served).toHaveLength(1);
  const [served] = lab.served;
  expect(served).toMatchObject({ method: "GET", url: "/v1/invoices/42?full=1" });
  expect(told(served, "Authorization")).toBeUndefined();
  expect(told(served, "Host")).toBe("billing.internal");
  expect(told(served, "X-Wayleave-Subject")).toBe("spiffe://acme.example/ci/gitlab/1042");
  expect(told(served, "X-Wayleave-Session")).toBe("ses_8f2k8f2k8f2k8f2k");
  expect(told(served, "X-Wayleave-Job")).toBe("acme/shop#7712");
  expect(told(served, "X-Wayleave-Role")).toBe("read-billing");
  expect(told(served, "X-Wayleave-Decision")).toBe("allow");
  expect(told(served, "Txn-Token")).toBe("eyJ0.eyJ0.c2ln");
  expect(told(served, "traceparent")).toBe("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  expect(JSON.stringify(served)).not.toContain("spoofed");
});

test.each([
  {
    what: "no token",
    headers: {},
    path: "/v1/a",
    status: 401,
    reason: "no_credential",
    challenge: 'Bearer realm="wayleave"',
  },
  {
    what: "a garbage token",
    headers: { Authorization: "Bearer x" },
    path: "/v1/a",
    status: 401,
    reason: "credential_invalid",
    challenge: expect.stringContaining('error="invalid_token"'),
  },
  {
    what: "a path outside the role",
    headers: bearer,
    path: "/admin",
    status: 403,
    reason: "no_role",
    challenge: undefined,
  },
])("$what: $status that says $reason, and nothing is served", async ({ headers, path, status, reason, challenge }) => {
  const { lab, port } = await start();
  const answer = await request(port, `GET ${path}`, headers);
  expect(answer.status).toBe(status);
  expect(answer.headers["content-type"]).toBe("application/problem+json");
  expect(answer.headers["x-wayleave-reason"]).toBe(reason);
  expect(answer.headers["x-wayleave-record"]).toBe("rec_000000000001");
  expect(answer.headers["www-authenticate"]).toEqual(challenge);
  expect(JSON.parse(answer.body)).toMatchObject({
    status,
    code: reason,
    record: "rec_000000000001",
    detail: "Wayleave refused this request. To see why: wayleave explain rec_000000000001",
  });
  expect(lab.served).toEqual([]);
});

test("an observed target lets a denial through and the log says would_deny", async () => {
  const { lab, port } = await start({ observed: ["billing"] });
  const answer = await request(port, "POST /admin", { ...bearer, "Content-Length": "0" });
  expect(answer.status).toBe(200);
  expect(told(lab.served[0], "X-Wayleave-Decision")).toBe("would_deny");
  await lab.stop();
  expect(lab.log()).toMatchObject([
    { decision: "would_deny", reason: "no_role", status: "200", method: "POST", path: "/admin" },
  ]);
});

test("a shared route passes people on with their own Authorization, and never with an identity", async () => {
  const { lab, port } = await start({ shared: ["billing"] });
  const answer = await request(port, "GET /v1/a", { Authorization: "Basic cGVvcGxl", "X-Wayleave-Subject": "spoofed" });
  expect(answer.status).toBe(200);
  expect(told(lab.served[0], "Authorization")).toBe("Basic cGVvcGxl");
  expect(told(lab.served[0], "X-Wayleave-Decision")).toBe("pass");
  expect(told(lab.served[0], "X-Wayleave-Subject")).toBeUndefined();
});

describe("when Wayleave is away", () => {
  test("requests get 503 that is plainly no refusal, whatever error pages the server has", async () => {
    const { lab, port } = await start(
      {},
      {
        server: (upstream) => `
          error_page 401 403 500 502 503 504 =200 /sorry;
          location = /sorry { return 200 "sorry"; }
          ${everywhere(upstream)}`,
      },
    );
    await lab.killDecisionPoint();
    const answer = await request(port, "GET /v1/a", bearer);
    expect(answer.status).toBe(503);
    expect(answer.headers["x-wayleave-decision"]).toBe("outage");
    expect(answer.headers["retry-after"]).toBe("5");
    expect(JSON.parse(answer.body)).toMatchObject({ status: 503, code: "outage" });
    expect(lab.served).toEqual([]);
    await lab.stop();
    expect(lab.log()).toMatchObject([{ status: "503", decision: "outage", reason: "outage", target: "billing" }]);
  });

  test("an outage that the decision point reports looks the same", async () => {
    const { port } = await start({}, { decisionPoint: { answer: () => Promise.reject(new Error("no database")) } });
    const answer = await request(port, "GET /v1/a", bearer);
    expect(answer.status).toBe(503);
    expect(JSON.parse(answer.body)).toMatchObject({ code: "outage" });
  });
});

test("a gateway with another secret is refused, and the words point at the gateway", async () => {
  const { lab, port } = await start({}, { gateway: { name: "edge-2" } });
  const answer = await request(port, "GET /v1/a", bearer);
  expect(answer.status).toBe(403);
  expect(JSON.parse(answer.body)).toMatchObject({ code: "gateway_unauthenticated", record: "" });
  expect(lab.served).toEqual([]);
});

test("fifty requests use one connection to Wayleave", async () => {
  const { lab, point, port } = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (let count = 0; count < 50; count++) {
    const status = await new Promise((resolve, reject) => {
      const options = {
        agent,
        port,
        host: "127.0.0.1",
        path: `/v1/${count}`,
        headers: { Host: "billing.internal", ...bearer },
      };
      httpRequest(options, (response) => response.resume().on("end", () => resolve(response.statusCode)))
        .on("error", reject)
        .end();
    });
    expect(status).toBe(200);
  }
  agent.destroy();
  expect(point.asked).toHaveLength(50);
  expect(lab.connections()).toBe(1);
});

test("the access log has who, what and why, no token and no query", async () => {
  const { lab, port } = await start();
  await request(port, "GET /v1/a?token=hush", {
    ...bearer,
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  });
  await request(port, "GET /v1/a", {});
  await lab.stop();
  expect(lab.log()).toMatchObject([
    {
      gateway: "edge-1",
      method: "GET",
      host: "billing.internal",
      path: "/v1/a",
      status: "200",
      target: "billing",
      decision: "allow",
      reason: "allowed",
      record: "rec_000000000001",
      session: "ses_8f2k8f2k8f2k8f2k",
      subject: "spiffe://acme.example/ci/gitlab/1042",
      job: "acme/shop#7712",
      role: "read-billing",
      trace: "0af7651916cd43dd8448eb211c80319c",
    },
    { status: "401", decision: "deny", reason: "no_credential", session: "" },
  ]);
  expect(lab.nginx.read("wayleave.log")).not.toMatch(/good|hush/);
});

describe("with the decision cache", () => {
  const gateway = { cacheSeconds: 2, njs: true };

  test("the same request is decided once, and the log says it was repeated", async () => {
    const { lab, point, port } = await start({ cacheSeconds: 2 }, { gateway });
    for (let count = 0; count < 3; count++) expect((await request(port, "GET /v1/a", bearer)).status).toBe(200);
    expect(point.asked).toHaveLength(1);
    expect(lab.served).toHaveLength(3);
    await lab.stop();
    expect(lab.log().map((line) => line.cache)).toEqual(["MISS", "HIT", "HIT"]);
  });

  test.each<{ what: string; line: string; headers: Readonly<Record<string, string>>; status: number }>([
    { what: "another token", line: "GET /v1/a", headers: { Authorization: "Bearer other" }, status: 401 },
    { what: "no token", line: "GET /v1/a", headers: {}, status: 401 },
    { what: "another path", line: "GET /v1/b", headers: bearer, status: 200 },
    { what: "another query", line: "GET /v1/a?x", headers: bearer, status: 200 },
    { what: "another spelling of the path", line: "GET /v1/%61", headers: bearer, status: 403 },
    { what: "another method", line: "DELETE /v1/a", headers: bearer, status: 403 },
    { what: "another host", line: "GET /v1/a", headers: { ...bearer, Host: "ledger.internal" }, status: 403 },
    {
      what: "a hop-by-hop trick",
      line: "GET /v1/a",
      headers: { ...bearer, Connection: "close, X-Wayleave-Subject" },
      status: 403,
    },
    {
      what: "an upgrade",
      line: "GET /v1/a",
      headers: { ...bearer, Connection: "upgrade", Upgrade: "h2c" },
      status: 403,
    },
    {
      what: "an override header",
      line: "GET /v1/a",
      headers: { ...bearer, "X-HTTP-Method-Override": "DELETE" },
      status: 200,
    },
  ])("$what is decided by itself", async ({ line, headers, status }) => {
    const { point, port } = await start({ cacheSeconds: 2 }, { gateway });
    await request(port, "GET /v1/a", bearer);
    expect((await request(port, line, headers)).status).toBe(status);
    expect(point.asked).toHaveLength(2);
  });

  test("denials, and allows that are not marked, are asked again", async () => {
    const { point, port } = await start({ cacheSeconds: 0 }, { gateway });
    for (const path of ["/v1/a", "/v1/a", "/admin", "/admin"]) await request(port, `GET ${path}`, bearer);
    expect(point.asked).toHaveLength(4);
  });

  test("no cache file holds the token", async () => {
    const { lab, port } = await start(
      { cacheSeconds: 2, rights: [{ ...rights[0]!, token: "very-secret-token" }] },
      { gateway },
    );
    expect((await request(port, "GET /v1/a", { Authorization: "Bearer very-secret-token" })).status).toBe(200);
    expect(
      spawnSync("grep", ["-rl", "X-Wayleave-Decision", `${lab.nginx.directory}/cache`], { encoding: "utf8" }).stdout,
    ).not.toBe("");
    expect(spawnSync("grep", ["-rl", "very-secret-token", lab.nginx.directory], { encoding: "utf8" }).stdout).toBe("");
  });
});

describe("the rendered probes", () => {
  const probe = (script: string, port: number, env: Readonly<Record<string, string>>) =>
    spawnProbe([script, `http://127.0.0.1:${port}`], env);

  test("pass on a gateway that enforces", async () => {
    const { lab, port } = await start();
    const { status, output } = await probe(`${lab.nginx.directory}/wayleave/wayleave-probes.sh`, port, {
      WAYLEAVE_TOKEN: "good",
      WAYLEAVE_PATH: "/v1/a",
    });
    expect(output).not.toContain("FAILED");
    expect(output.split("\n").filter((line) => line.startsWith("ok "))).toHaveLength(8);
    expect(status).toBe(0);
  });

  test("adapt to an observed target", async () => {
    const { lab, port } = await start({ observed: ["billing"] });
    const { status, output } = await probe(`${lab.nginx.directory}/wayleave/wayleave-probes.sh`, port, {});
    expect(output).not.toContain("FAILED");
    expect(status).toBe(0);
  });

  test("fail on a gateway without the include", async () => {
    const { lab, port } = await start({}, { server: (upstream) => `location / { proxy_pass ${upstream}; }` });
    const { status, output } = await probe(`${lab.nginx.directory}/wayleave/wayleave-probes.sh`, port, {});
    expect(output).toMatch(/^FAILED {2}billing +no token +200/m);
    expect(status).toBe(1);
  });
});

async function spawnProbe(args: string[], env: Readonly<Record<string, string>>) {
  const child = spawn("sh", args, { env: { PATH: process.env.PATH ?? "", ...env } });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const status = await new Promise((resolve) => child.once("close", resolve));
  return { status, output };
}

describe("nginx -t accepts", () => {
  test.each<{ what: string; gateway: Partial<NginxGatewaySettings> }>([
    { what: "a broker behind a socket", gateway: { brokerUrl: "unix:/run/wayleave/wayleave.sock" } },
    {
      what: "a broker behind TLS, with the cache",
      gateway: { brokerUrl: "https://127.0.0.1:8443", cacheSeconds: 1, njs: true },
    },
  ])("$what", async ({ gateway }) => {
    const { ok, output } = await testNginx({
      files: (directory) => {
        const settings: NginxGatewaySettings = {
          name: "edge-1",
          brokerUrl: "http://127.0.0.1:8700",
          brokerCa: `${directory}/ca.pem`,
          targets: ["billing", "chat"],
          directory,
          secretFile: `${directory}/secret.conf`,
          accessLog: `${directory}/wayleave.log`,
          cachePath: `${directory}/cache`,
          ...gateway,
        };
        const policy = fakePolicy([{ name: "billing" }, { name: "chat", streams: true, mode: "observe" }]);
        return [
          ...renderNginx({ gateway: settings, policy }).files,
          { path: "secret.conf", text: renderSecret("a-secret-of-the-lab-only") },
          { path: "ca.pem", text: rootCertificates[0] ?? "" },
        ];
      },
      http: (directory, port) => `
        include ${directory}/wayleave-http.conf;
        server { listen 127.0.0.1:${port}; include ${directory}/wayleave-server.conf;
          location /chat { include ${directory}/wayleave-location-chat.conf; proxy_pass http://127.0.0.1:1; }
          location / { include ${directory}/wayleave-location-billing.conf; proxy_pass http://127.0.0.1:1; } }
        server { listen 127.0.0.1:${port}; server_name two; include ${directory}/wayleave-server.conf; }`,
    });
    expect(output).not.toMatch(/\[(warn|error|emerg)\]/);
    expect(ok).toBe(true);
  });
});
