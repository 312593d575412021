import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeProtectedHeader } from "jose";
import { Agent, request } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { KeyResponse, KeyRevocationResponse, ProblemResponse } from "../src/api/contract.ts";
import { type EdgeEnvoy, edgeEnvoys, startEdgeEnvoy } from "./mesh-edge.ts";
import { type MeshLab, openJob, startMeshWorld } from "./mesh-lab.ts";
import { askOperator } from "./operator.ts";
import { followRecords, type RecordStream } from "./record-stream.ts";

/** Signing keys that change while an Envoy which verifies by itself is busy. */
const policyText = `version: 1
targets: { billing: { http: { hosts: [billing.localhost] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read-billing: { for: [shop], allow: { billing: ["GET /v1/invoices/**"] } }
`;

/** What the windows are computed from, so small that a whole rotation fits into a test. */
const keyCacheMs = 1_000;
const tokenTtlMs = 5_000;
const revocationTtlMs = 15_000;

let folder: string;
let lab: Pick<MeshLab, "world" | "ci" | "close">;
let envoy: EdgeEnvoy;
let records: RecordStream;
let agent: Agent;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-rotation-"));
  const policy = join(folder, "policy.yaml");
  writeFileSync(policy, policyText);
  lab = await startMeshWorld({
    policy,
    targets: ["billing"],
    settings: { sessions: { token_ttl: `${tokenTtlMs}ms` } },
    gateways: edgeEnvoys(["edge-2"], { key_cache: `${keyCacheMs}ms`, revocation_ttl: `${revocationTtlMs}ms` }),
  });
  envoy = await startEdgeEnvoy(lab.world, "edge-2");
  records = await followRecords(lab.world);
  agent = new Agent({ connections: lanes });
});

afterEach(async () => {
  await agent.close();
  await records.close();
  await envoy.stop();
  await lab.close();
  rmSync(folder, { recursive: true, force: true });
});

async function operate<T>(method: "GET" | "POST", path: string): Promise<T & Partial<ProblemResponse>> {
  return (await askOperator<T & Partial<ProblemResponse>>(lab.world, method, path, method === "GET" ? undefined : {}))
    .body;
}

interface Token {
  readonly text: string;
  readonly kid: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

async function exchange(): Promise<Token> {
  const askedAt = Date.now();
  const { token: text } = await openJob(lab.world, lab.ci);
  return { text, kid: decodeProtectedHeader(text).kid ?? "", expiresAt: askedAt + tokenTtlMs };
}

async function ask({ text }: Token): Promise<number> {
  const { statusCode, body } = await request(`${envoy.url}/v1/invoices/42`, {
    headers: { host: "billing.localhost", authorization: `Bearer ${text}` },
    dispatcher: agent,
  });
  await body.dump();
  return statusCode;
}

/** One request at the Envoy; times are ms since the epoch. */
interface Asked {
  readonly kid: string;
  readonly status: number;
  readonly sent: number;
  readonly came: number;
}

interface Load {
  readonly tokens: Token[];
  readonly asked: Asked[];
}

const lanes = 4;
/** A token this near its end may expire on the way. */
const marginMs = 1_000;

/** The newest, the oldest and one between, of those that have time left. */
function someLiving(tokens: readonly Token[]): readonly Token[] {
  const living = tokens.filter(({ expiresAt }) => expiresAt - marginMs > Date.now());
  return [living.at(-1), living[0], living[living.length >> 1]].filter((token) => token !== undefined);
}

/** Jobs that exchange, and call with new and old tokens. */
async function underLoad(during: (load: Load) => Promise<void>): Promise<Load> {
  const load: Load = { tokens: [], asked: [] };
  let over = false;
  const lane = async () => {
    while (!over) {
      load.tokens.push(await exchange());
      for (const token of someLiving(load.tokens)) {
        const sent = Date.now();
        const status = await ask(token);
        load.asked.push({ kid: token.kid, status, sent, came: Date.now() });
      }
    }
  };
  const running = Promise.all(Array.from({ length: lanes }, lane));
  running.catch(() => undefined); // awaited below, where its failure counts
  try {
    await Promise.race([during(load), running]);
  } finally {
    over = true;
  }
  await running;
  return load;
}

/** Activates as soon as it is not refused any more: the load goes on meanwhile. */
async function activateWhenReady(): Promise<KeyResponse> {
  for (;;) {
    const answer = await operate<KeyResponse>("POST", "/v1/keys/access-token/activate");
    if (answer.code === undefined) return answer;
    expect(answer.code).toBe("key_not_ready");
    await exchange();
  }
}

test("a rotation under load: the Envoy refuses no good request", async () => {
  const kids: string[] = [];
  const { asked, tokens } = await underLoad(async (load) => {
    const first = (await records.until("credential.minted")).data.kid;
    const { key, gateways } = await operate<KeyResponse>("POST", "/v1/keys/access-token/prepare");
    expect(gateways.map(({ gateway }) => gateway)).toEqual(["edge-2"]);
    const active = await activateWhenReady();
    expect(active.key).toMatchObject({ kid: key.kid, state: "active" });
    await records.until("key.retired", ({ data }) => data.kid === first);
    const before = load.asked.length;
    while (load.asked.length < before + 20) await exchange();
    kids.push(first, key.kid);
  });
  const [first, second] = kids;
  expect(asked.filter(({ status }) => status !== 200)).toEqual([]);
  expect([...new Set(asked.map(({ kid }) => kid))]).toEqual([first, second]);
  expect(tokens.at(-1)?.kid).toBe(second);
  expect(asked.length).toBeGreaterThan(100);
  expect(records.of("decision")).toEqual([]); // nobody was asked
  const { keys } = (await (await request(`${lab.world.config.issuer}/oauth2/jwks`)).body.json()) as {
    keys: { kid: string }[];
  };
  expect(keys.map(({ kid }) => kid)).toEqual([second]);
  print(`rotation: ${asked.length} requests of ${tokens.length} tokens, none refused`);
});

test("an emergency revocation under load: nothing of the key is served after the bound, and the new key's is", async () => {
  let bad = "";
  let answeredAt = 0;
  let revoked: KeyRevocationResponse | undefined;
  const { asked } = await underLoad(async (load) => {
    bad = (await records.until("credential.minted")).data.kid;
    while (load.asked.length < 40) await exchange();
    revoked = await operate<KeyRevocationResponse>("POST", `/v1/keys/access-token/${bad}/revoke`);
    answeredAt = Date.now();
    const known = Date.parse(revoked.signing_known_at ?? "");
    expect(known - answeredAt).toBeLessThan(revocationTtlMs);
    while (!load.asked.some(({ kid, status, sent }) => kid !== bad && status === 200 && sent > known)) await exchange();
    const before = load.asked.length;
    while (load.asked.length < before + 40) await exchange();
    for (const token of load.tokens.filter(({ kid }) => kid === bad)) expect(await ask(token)).not.toBe(200);
  });
  expect(revoked?.key.state).toBe("revoked");
  const [old, fresh] = [asked.filter(({ kid }) => kid === bad), asked.filter(({ kid }) => kid !== bad)];
  const statuses = old.toSorted((a, b) => a.sent - b.sent).map(({ status }) => status);
  expect(statuses.slice(0, 40).every((status) => status === 200)).toBe(true);
  const lastServed = Math.max(...old.filter(({ status }) => status === 200).map(({ sent }) => sent));
  // What is published for an Envoy that hears nothing; this one heard.
  expect(lastServed - answeredAt).toBeLessThan(revocationTtlMs);
  const known = Date.parse(revoked?.signing_known_at ?? "");
  const late = fresh.filter(({ sent }) => sent > known);
  expect(late.length).toBeGreaterThan(20);
  expect(late.filter(({ status }) => status !== 200)).toEqual([]);
  const gap = fresh.filter(({ status }) => status !== 200).length;
  const first = old.find(({ status, sent }) => status !== 200 && sent >= lastServed);
  print(
    `emergency revoke: last one of the key sent ${lastServed - answeredAt} ms after the answer was served, first refused ${first === undefined ? "when asked again" : `${first.came - answeredAt} ms after it`}; new key known after ${known - answeredAt} ms, ${gap} of its requests refused before that, none of ${late.length} after`,
  );
});

const print = (line: string) => process.stdout.write(`${line}\n`);
