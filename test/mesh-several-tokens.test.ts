import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type EdgeEnvoy, edgeEnvoys, startEdgeEnvoy } from "./mesh-edge.ts";
import { type MeshJob, type MeshLab, openJob, startMeshWorld } from "./mesh-lab.ts";
import { sendBytes } from "./nginx-lab.ts";

/** An Envoy at the edge that decides natively, and requests with more than one access token: what ended must not hide behind what lives. */
const policyText = `version: 1
targets: { billing: { http: { hosts: [billing.localhost] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read-billing: { for: [shop], allow: { billing: ["GET /v1/invoices/**"] } }
`;

let folder: string;
let lab: Pick<MeshLab, "world" | "ci" | "close">;
let envoy: EdgeEnvoy;
let living: MeshJob;
let ended: MeshJob;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-several-"));
  writeFileSync(join(folder, "policy.yaml"), policyText);
  lab = await startMeshWorld({
    policy: join(folder, "policy.yaml"),
    targets: ["billing"],
    gateways: edgeEnvoys(["edge-2"]),
  });
  envoy = await startEdgeEnvoy(lab.world, "edge-2");
  [living, ended] = [await openJob(lab.world, lab.ci), await openJob(lab.world, lab.ci)];
  expect(await ask([`Authorization: Bearer ${ended.token}`])).toBe(200);
  lab.ci.gitlab.succeedJob(ended.job);
  await lab.ci.gitlab.flush();
  await vi.waitFor(async () => expect(await ask([`Authorization: Bearer ${ended.token}`])).toBe(403), 10_000);
});

afterAll(async () => {
  await envoy?.stop();
  await lab?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Status of one request; it agrees with what the upstream served. */
async function ask(fields: readonly string[], path = "/v1/invoices/1"): Promise<number> {
  const before = lab.world.upstream.served.length;
  const lines = [`GET ${path} HTTP/1.1`, "Host: billing.localhost", ...fields, "Connection: close"];
  const status = Number((await sendBytes(envoy.port, `${lines.join("\r\n")}\r\n\r\n`)).split(" ")[1]);
  expect(lab.world.upstream.served.length - before).toBe(status === 200 ? 1 : 0);
  return status;
}

test("one living token is served", async () => {
  expect(await ask([`Authorization: Bearer ${living.token}`])).toBe(200);
});

const bearer = ({ token }: MeshJob) => `Authorization: Bearer ${token}`;

test.each([
  ["the ended one first", () => [bearer(ended), bearer(living)]],
  ["the living one first", () => [bearer(living), bearer(ended)]],
  ["the living one twice", () => [bearer(living), bearer(living)]],
  ["three lines", () => [bearer(living), bearer(ended), bearer(living)]],
  ["joined by a comma", () => [`${bearer(living)}, Bearer ${ended.token}`]],
  ["joined by a comma, the ended one first", () => [`${bearer(ended)},Bearer ${living.token}`]],
  ["joined by a space", () => [`${bearer(ended)} ${living.token}`]],
  ["both in one Bearer", () => [`${bearer(ended)},${living.token}`]],
  ["the ended one, and claims as headers", () => [bearer(ended), `x-wayleave-session: ${living.session}`]],
] as [string, () => string[]][])("two tokens are refused: %s", async (_how, fields) => {
  expect(await ask(fields())).not.toBe(200);
});

test("a token in the query or a cookie is none", async () => {
  expect(await ask([], `/v1/invoices/1?access_token=${living.token}`)).toBe(401);
  expect(await ask([`Cookie: authorization=Bearer ${living.token}`])).toBe(401);
  expect(await ask([bearer(ended)], `/v1/invoices/1?access_token=${living.token}`)).toBe(403);
});
