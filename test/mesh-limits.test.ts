import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EdgeEnvoy, edgeEnvoys, startEdgeEnvoy } from "./mesh-edge.ts";
import { type MeshJob, type MeshLab, startMeshLab } from "./mesh-lab.ts";

/** Limits over two gateways, one of them two hops deep: NGINX with an Envoy behind it, and an Envoy of its own. */
const policyText = `version: 1
targets:
  billing: { http: { hosts: [billing.localhost] } }
  reports: { http: { hosts: [reports.localhost] } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  session-global: { for: [shop], limit: { rate: 3/min, per: session }, allow: { billing: [GET /v1/session-global] } }
  session-gateway:
    for: [shop]
    limit: { rate: 3/min, per: session, scope: gateway }
    allow: { billing: [GET /v1/session-gateway] }
  role-global: { for: [shop], limit: { rate: 4/min, per: role }, allow: { billing: [GET /v1/role-global] } }
  role-gateway:
    for: [shop]
    limit: { rate: 4/min, per: role, scope: gateway }
    allow: { billing: [GET /v1/role-gateway] }
  free: { for: [shop], allow: { billing: [GET /v1/free], reports: [GET /v1/free] } }
`;
const limited = ["session-global", "session-gateway", "role-global", "role-gateway"];

type At = "edge" | "envoy";
interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

describe.each(["native", "call_out"] as const)("behind NGINX an Envoy that decides %s", (mode) => {
  let folder: string;
  let lab: MeshLab;
  let envoy: EdgeEnvoy;
  let jobs: readonly MeshJob[];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wayleave-limits-"));
    writeFileSync(join(folder, "policy.yaml"), policyText);
    lab = await startMeshLab({
      policy: join(folder, "policy.yaml"),
      targets: ["billing"],
      mesh: { mode },
      gateways: async (upstream) => [
        ...(await edgeEnvoys(["edge-2"])(upstream)),
        { name: "edge-3", kind: "nginx", targets: ["billing", "reports"] },
      ],
    });
    envoy = await startEdgeEnvoy(lab.world, "edge-2");
    jobs = [await lab.openJob(), await lab.openJob()];
  });
  afterAll(async () => {
    await envoy?.stop();
    await lab?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const tokenOf = (who: number) => jobs[who]?.token ?? "";

  async function ask(at: At, who: number, path: string): Promise<Answer> {
    if (at === "edge") {
      const { status, headers, body } = await lab.atEdge(tokenOf(who), { path });
      return { status, retryAfter: text(headers["retry-after"]), body };
    }
    const { statusCode, headers, body } = await request(`${envoy.url}${path}`, {
      headers: { host: "billing.localhost", authorization: `Bearer ${tokenOf(who)}` },
    });
    return { status: statusCode, retryAfter: text(headers["retry-after"]), body: await body.text() };
  }

  /** Who asks where, in order, and how that ends: `0@edge 200`. */
  test.each([
    {
      role: "session-global",
      what: "each session has its own, at all gateways together",
      steps: ["0@edge 200", "0@edge 200", "0@envoy 200", "0@envoy 429", "0@edge 429", "1@envoy 200", "1@edge 200"],
    },
    {
      role: "session-gateway",
      what: "each session has its own, at each gateway",
      steps: [
        ...["0@edge 200", "0@edge 200", "0@edge 200", "0@edge 429", "0@envoy 200", "0@envoy 200", "0@envoy 200"],
        ...["0@envoy 429", "1@edge 200", "1@envoy 200"],
      ],
    },
    {
      role: "role-global",
      what: "all sessions share one, at all gateways together",
      steps: ["0@edge 200", "1@edge 200", "0@envoy 200", "1@envoy 200", "0@edge 429", "1@envoy 429", "1@edge 429"],
    },
    {
      role: "role-gateway",
      what: "all sessions share one, at each gateway",
      steps: [
        ...["0@edge 200", "1@edge 200", "0@edge 200", "1@edge 200", "0@edge 429", "1@edge 429", "0@envoy 200"],
        ...["1@envoy 200", "1@envoy 200", "1@envoy 200", "0@envoy 429"],
      ],
    },
  ])("$role: $what, and a request over both hops is one", async ({ role, steps }) => {
    const before = lab.world.upstream.served.length;
    for (const [at, step] of steps.entries()) {
      const [who = "", where = "", wanted] = step.split(/[@ ]/);
      const { status, retryAfter, body } = await ask(where as At, Number(who), `/v1/${role}`);
      expect(`${at}: ${who}@${where} ${status}`).toBe(`${at}: ${who}@${where} ${wanted}`);
      if (status === 200) continue;
      expect(Number(retryAfter)).toSatisfy((seconds: number) => seconds >= 1 && seconds <= 60);
      expect(JSON.parse(body).code).toBe("limit_exceeded");
    }
    const served = steps.filter((step) => step.endsWith("200")).length;
    expect(lab.world.upstream.served.length - before).toBe(served);
  });

  test("what has no limit is not counted by anything", async () => {
    for (let times = 0; times < 10; times++) {
      expect([(await ask("edge", 0, "/v1/free")).status, (await ask("envoy", 0, "/v1/free")).status]).toEqual([
        200, 200,
      ]);
    }
  });

  test("an Envoy at the edge asks about each limited route, and says which; one behind NGINX need not", () => {
    const notes = (all: readonly string[]) => all.filter((note) => /has a limit/.test(note)).join("\n");
    for (const role of limited) expect(notes(envoy.notes)).toContain(`GET /v1/${role} is asked about`);
    expect(notes(envoy.notes)).not.toContain("/v1/free");
    expect(notes(lab.mesh.notes)).toBe("");
  });

  test("no gateway may keep an answer where something is limited", async () => {
    const secret = readFileSync(join(lab.world.directory, "edge-3.secret"), "utf8");
    const keeps = async (target: string, path: string) => {
      const { headers, body } = await request(`${lab.world.config.issuer}/authz/nginx`, {
        headers: {
          ...{ "x-wayleave-gateway": "edge-3", "x-wayleave-gateway-secret": secret, "x-wayleave-target": target },
          ...{ "x-original-method": "GET", "x-original-host": `${target}.localhost`, "x-original-uri": path },
          authorization: `Bearer ${tokenOf(1)}`,
        },
      });
      await body.dump();
      return `${headers["x-wayleave-decision"]} for ${headers["x-accel-expires"]} s`;
    };
    expect(await keeps("reports", "/v1/free")).toBe("allow for 2 s");
    expect(await keeps("billing", "/v1/free")).toBe("allow for 0 s");
    expect(await keeps("billing", "/v1/session-gateway")).toBe("allow for 0 s");
    expect(await keeps("billing", "/v1/role-gateway")).toBe("allow for 0 s");
    expect(await keeps("billing", "/v1/role-global")).toBe("deny for 0 s");
  });
});

function text(value: string | string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
