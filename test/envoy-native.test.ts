import { createHash } from "node:crypto";
import { Agent, request as send } from "node:http";
import fc from "fast-check";
import { SignJWT } from "jose";
import { afterAll, describe, expect, test } from "vitest";
import { mintAccessToken, verifyAccessToken } from "../src/credential/access-token.ts";
import type { KeyRing } from "../src/credential/keys.ts";
import { createDecisionPoint, type DecisionPoint, type TokenVerdict } from "../src/gateway/decision-point.ts";
import { createEnvoyCheck } from "../src/gateway/envoy/check.ts";
import { createLimits } from "../src/gateway/limits.ts";
import { compile } from "../src/policy/compile.ts";
import type { PolicyModel } from "../src/policy/model.ts";
import type { Policy } from "../src/policy/policy.ts";
import { fakeVocabulary } from "../src/policy/vocabulary.fake.ts";
import {
  type CaseRequest,
  type Credential,
  credentials,
  endedSession,
  policy,
  request,
  sessions,
  targetNames,
} from "./envoy-native-cases.ts";
import { issuer, makeKey, secret, startBroker, startNative, startUpstream, trustDomain } from "./envoy-native-lab.ts";

const clock = { now: () => Date.now(), monotonic: () => performance.now() };
const rounds = 20;
const requestsEach = 500;
const revokedId = "jti-revoked";

const key = await makeKey("kid-1");
const strange = await makeKey("kid-1");
const upstream = await startUpstream();
const agent = new Agent({ keepAlive: true, maxSockets: 16 });

afterAll(async () => {
  agent.destroy();
  await upstream.close();
});

/** The real decision point over sessions that are only numbers and facts. */
function decisionPoint(compiled: Policy): DecisionPoint {
  const openedAt = Date.now() - 60_000;
  const point = createDecisionPoint({
    clock,
    recorder: { note: () => "rec_000000000001", settled: async () => {} },
    limits: createLimits(clock),
    durableBeforeAnswer: false,
    policy: () => compiled,
    session: (id) => {
      const found = sessions.find((one) => one.id === id);
      const state = id === endedSession ? "ended" : "active";
      const view =
        found && ({ id, identity: found.identity, state, openedAt, hardEndAt: openedAt + 3_600_000 } as const);
      const fresh = Object.entries(found?.facts ?? {}).map(([name, fact]) => [
        name,
        { ...fact, observedAt: openedAt, staleAt: openedAt + 3_600_000 },
      ]);
      return view && { view, facts: Object.fromEntries(fresh) };
    },
    revoked: (jti) => jti === revokedId,
    token: tokenVerdict,
    assertion: async () => ({ state: "ours" }),
    prove: async () => undefined,
    subject: () => "subject",
    fingerprint: () => "fingerprint",
    passesOn: () => false,
    keepMs: () => 0,
    newTraceparent: () => "00-11111111111111111111111111111111-2222222222222222-01",
    onFault: (error) => {
      throw error;
    },
    mintAssertion: async () => "",
  });
  return point;
}

/** As the broker tells its own tokens from others'. */
async function tokenVerdict(bearer: string, now: number): Promise<TokenVerdict> {
  if (bearer.split(".").length !== 3) return { state: "foreign" };
  try {
    return { state: "valid", token: await verifyAccessToken(key, issuer, bearer, now) };
  } catch {
    return { state: "ours" };
  }
}

type Tokens = ReadonlyMap<string, string>;

async function makeTokens(compiled: Policy): Promise<Tokens> {
  const all = new Map<string, string>();
  for (const [index, { id, identity }] of sessions.entries()) {
    const roles = compiled.rolesFor(identity).map((role) => role.id);
    const mint = (ring: KeyRing, parts: Partial<Parameters<typeof mintAccessToken>[1]>) =>
      mintAccessToken(ring, {
        issuerUrl: issuer,
        trustDomain,
        sessionId: id,
        identity,
        targets: targetNames,
        roles,
        rolesNarrowed: false,
        denies: compiled.deniesFor(identity, targetNames),
        policy: compiled.version,
        jti: `jti-${index}`,
        now: Date.now(),
        expiresAt: Date.now() + 300_000,
        ...parts,
      });
    const put = (credential: Credential, token: string) => all.set(`${index}/${credential}`, token);
    put("full", await mint(key, {}));
    put("narrowed-target", await mint(key, { targets: ["soft"] }));
    put("narrowed-role", await mint(key, { roles: roles.slice(0, 1), rolesNarrowed: true }));
    // Whatever an older policy gave counts for nothing.
    put("other-policy", await mint(key, { policy: "000000000000", roles: ["role-0", "role-1"], denies: [] }));
    put("expired", await mint(key, { now: Date.now() - 600_000, expiresAt: Date.now() - 5_000 }));
    put("other-key", await mint(strange, {}));
    put("revoked", await mint(key, { jti: revokedId }));
    put("bound", await bound(id, roles, compiled));
  }
  return all;
}

function bound(sid: string, roles: readonly string[], { version }: Policy): Promise<string> {
  return new SignJWT({ sid, roles: [...roles], denies: [], pol: version, cnf: { jkt: "x" } })
    .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: key.kid })
    .setIssuer(issuer)
    .setSubject("spiffe://lab.example/ci/gitlab/1042")
    .setAudience(targetNames)
    .setIssuedAt()
    .setJti("jti-bound")
    .setExpirationTime("5m")
    .sign(key.privateKey);
}

/** Lines of the credential, as they are sent. */
function authorization({ session, credential }: CaseRequest, tokens: Tokens): readonly string[] {
  const full = tokens.get(`${session}/full`) ?? "";
  const odd: Partial<Record<Credential, readonly string[]>> = {
    none: [],
    garbage: ["Bearer garbage"],
    basic: ["Basic Z29vZA=="],
    "lower-case": [`bearer ${full}`],
    proven: [`DPoP ${tokens.get(`${session}/bound`)}`],
    "bearer-as-dpop": [`DPoP ${full}`],
    doubled: [`Bearer ${full}`, "Bearer x"],
  };
  return odd[credential] ?? [`Bearer ${tokens.get(`${session}/${credential}`)}`];
}

const headerLines = (made: CaseRequest, tokens: Tokens): [string, string][] => [
  ["host", made.host],
  ...Object.entries(made.headers),
  ...authorization(made, tokens).map((value): [string, string] => ["authorization", value]),
];

/** True where the request reached the upstream. */
function reaches(port: number, made: CaseRequest, tokens: Tokens): Promise<{ served: boolean; status: number }> {
  const { method, path } = made;
  return new Promise((resolve, reject) => {
    const asked = send(
      { port, method, path, agent, headers: headerLines(made, tokens).flat(), setHost: false },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (text: string) => {
          body += text;
        });
        response.on("end", () =>
          resolve({ served: response.statusCode === 200 && body === "ok", status: response.statusCode ?? 0 }),
        );
      },
    );
    asked.once("error", reject);
    asked.end();
  });
}

/** A busy machine is not what is tested: questions may take as long as they like. */
const patient = (config: Record<string, unknown>): Record<string, unknown> =>
  JSON.parse(JSON.stringify(config).replaceAll('"0.2s"', '"60s"'));

async function compare(model: PolicyModel, requests: readonly CaseRequest[]) {
  const compiled = compile(model, fakeVocabulary);
  const point = decisionPoint(compiled);
  const gateways = [{ name: "envoy-1", targets: targetNames }];
  const broker = await startBroker({ keys: [key], decisionPoint: point, gateways });
  const refusals = { sessions: [endedSession], tokens: [revokedId], kids: ["kid-1"], validUntil: Date.now() + 600_000 };
  const common = { policy: model, targets: targetNames, broker, upstream: upstream.port, refusals, change: patient };
  const [native, asking] = await Promise.all([
    startNative({ ...common }),
    startNative({ ...common, settings: { mode: "call_out" } }),
  ]);
  const tokens = await makeTokens(compiled);
  const secretHashes = [createHash("sha256").update(secret).digest("hex")];
  const reference = createEnvoyCheck({
    decisionPoint: point,
    gateways: [{ name: "envoy-1", targets: targetNames, peers: [], secretHashes }],
  });
  const wrong: string[] = [];
  const counts = { served: 0, refused: 0, natively: 0 };
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < requests.length; at = next++) {
      const made = requests[at] as CaseRequest;
      const [alone, asked, wanted] = [
        await reaches(native.listenPort, made, tokens),
        await reaches(asking.listenPort, made, tokens),
        await expected(reference, made, tokens),
      ];
      counts[wanted ? "served" : "refused"]++;
      if (alone.served !== wanted || asked.served !== wanted) {
        wrong.push(JSON.stringify({ ...made, wanted, alone, asked }));
      }
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  counts.natively =
    requests.length -
    (await native.stat("http.wayleave.ext_authz.ok")) -
    (await native.stat("http.wayleave.ext_authz.denied"));
  await Promise.all([native.stop(), asking.stop()]);
  native.remove();
  asking.remove();
  await broker.close();
  return { wrong, counts };
}

/** What the check says of the request that arrives, once Envoy has taken away what no client may say. */
async function expected(
  { http }: ReturnType<typeof createEnvoyCheck>,
  made: CaseRequest,
  tokens: Tokens,
): Promise<boolean> {
  const { method, target, path } = made;
  const lines = headerLines(made, tokens).filter(([name]) => !name.startsWith("x-wayleave-"));
  const proof = ["x-wayleave-gateway", "envoy-1", "x-wayleave-gateway-secret", secret];
  const { status } = await http({
    method,
    url: `/authz/envoy/${target}${path}`,
    rawHeaders: [...lines.flat(), ...proof],
  });
  return status === 200;
}

describe("a native Envoy, one that asks, and the decision function agree", () => {
  test(`on ${rounds * requestsEach} generated requests`, { timeout: 300_000 }, async () => {
    const seed = 20261121;
    const models = fc.sample(policy, { numRuns: rounds, seed });
    const total = { served: 0, refused: 0, natively: 0 };
    for (const [index, model] of models.entries()) {
      const requests = fc.sample(request, { numRuns: requestsEach, seed: seed + index });
      const { wrong, counts } = await compare(model, requests);
      expect(wrong).toEqual([]);
      total.served += counts.served;
      total.refused += counts.refused;
      total.natively += counts.natively;
    }
    expect(credentials.length).toBeGreaterThan(10);
    // Not a comparison of refusals alone, nor of questions alone.
    expect(total.served).toBeGreaterThan(1_000);
    expect(total.refused).toBeGreaterThan(1_000);
    expect(total.natively).toBeGreaterThan(3_000);
  });
});
