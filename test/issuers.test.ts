import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { fakeKeys, fakeSts } from "../src/ci/aws/sts.fake.ts";
import { stepJob } from "../src/ci/buildkite/claims.fake.ts";
import { pullRequestJob, pushJob } from "../src/ci/github/claims.fake.ts";
import { branchJob } from "../src/ci/gitlab/claims.fake.ts";
import { awsProof } from "../src/cli/job/aws-proof.ts";
import { loadConfig } from "../src/config/load.ts";
import { awsProofType } from "../src/core/aws-proof.ts";
import { rs256, signingKey } from "../src/identity/subject-tokens.fake.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { askEdge } from "./edge-question.ts";
import { wayleave } from "./job-process.ts";
import { type RecordStream, streamRecords } from "./record-queue.ts";

const policy = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who:
  gitlab: { gitlab: { project: acme/web/shop } }
  buildkite: { buildkite: { organization: acme, pipeline: shop-e2e } }
  github: { github: { repository: acme/shop, ref: main, environment: production } }
  circle: { circleci: { project: 7b6a5948-0000-4000-8000-000000000001 } }
  aws: { aws: { account: "111122223333", role: shop-ci } }
  proven: { github: { repository: acme/proven, runner: "spiffe://mesh.example/runner/*" } }
  forks: { buildkite: { organization: acme, fork: true } }
roles:
  read: { for: [gitlab, buildkite, github, circle, aws, proven, forks], allow: { billing: ["GET /v1/**"] } }
  fresh: { for: [github], when: runner.ephemeral, allow: { billing: ["POST /v1/**"] } }
`;

const key = signingKey("ci-1");
const runnerKey = signingKey("mesh-1");
const circle = "https://oidc.circleci.com/org/5e0b5f6c-0000-4000-8000-000000000001";
const awsTokens = "https://0a1b.tokens.sts.global.api.aws";

let installation: BrokerInstallation;
let broker: RunningServer;
let records: RecordStream;
let cloud: Cloud;

beforeAll(async () => {
  cloud = await startCloud();
  const jwks = { jwks_file: "jwks.json" };
  installation = await installBroker({
    policy,
    targets: ["billing"],
    ci: async () => ({
      issuer: { name: "gitlab", type: "gitlab", url: "https://gitlab.example", ...jwks },
      files: {
        "jwks.json": JSON.stringify({ keys: [key.jwk] }),
        "mesh.json": JSON.stringify({ keys: [{ ...runnerKey.jwk, use: "jwt-svid" }], spiffe_sequence: 1 }),
      },
    }),
  });
  const config = parse(readFileSync(installation.configPath, "utf8")) as { issuers: object[] };
  config.issuers.push(
    { name: "buildkite", type: "buildkite", ...jwks },
    { name: "github", type: "github", ...jwks },
    {
      name: "circleci",
      type: "oidc",
      url: circle,
      oidc: { claims: { project: "oidc.circleci.com/project-id", job: "oidc.circleci.com/job-id" }, forks: "none" },
      ...jwks,
    },
    {
      name: "aws",
      type: "aws",
      url: awsTokens,
      aws: { accounts: ["111122223333"], sts: [cloud.url], forks: "none" },
      ...jwks,
    },
  );
  const mesh = { trust_domain: "mesh.example", bundle_file: "mesh.json", runners: ["spiffe://mesh.example/runner"] };
  writeFileSync(installation.configPath, stringify({ ...config, spiffe: { federates_with: [mesh] } }));
  const loaded = loadConfig({ path: installation.configPath, env: {} });
  if (!("config" in loaded)) throw new TypeError(JSON.stringify(loaded.diagnostics));
  broker = await startServer(loaded.config, { log: pino({ level: "silent" }) });
  records = await streamRecords(installation.adminSocket);
});

afterAll(async () => {
  records?.close();
  await broker?.close();
  await cloud?.close();
  installation?.remove();
});

interface Cloud {
  readonly url: string;
  close(): Promise<void>;
}

/** On one port: STS, and the address where a GitHub job asks for its tokens. */
async function startCloud(): Promise<Cloud> {
  const sts = fakeSts(fakeKeys, () => Date.now());
  const server: Server = createServer((request, response) => void answer(request, response));
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
    const found =
      url.pathname === "/token"
        ? githubToken(request, url)
        : await sts.answer(
            new Request(url, {
              method: request.method ?? "GET",
              headers: request.headers as Record<string, string>,
              body: Buffer.concat(chunks),
            }),
          );
    response.writeHead(found.status, Object.fromEntries(found.headers)).end(await found.text());
  };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((resolve) => void server.close(() => resolve()).closeAllConnections()),
  };
}

function githubToken(request: IncomingMessage, url: URL): Response {
  if (request.headers.authorization !== "Bearer request-secret") return new Response("", { status: 401 });
  return Response.json({
    value: token({ ...pushJob, check_run_id: "777" }, { aud: url.searchParams.get("audience") }),
  });
}

let counter = 0;

/** A token with these claims, of now and for this broker. */
function token(claims: Readonly<Record<string, unknown>>, more: Readonly<Record<string, unknown>> = {}): string {
  const iat = Math.floor(Date.now() / 1000);
  const times = { iat, nbf: iat - 5, exp: iat + 300 };
  return rs256(key, { ...claims, aud: installation.url, jti: `jti-${++counter}`, ...times, ...more });
}

async function exchange(subject: string, more: Readonly<Record<string, string>> = {}) {
  const response = await fetch(`${installation.url}/oauth2/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: subject,
      subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
      ...more,
    }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

/** The identity in the record of the session that this exchange opened. */
async function opened(subject: string, more: Readonly<Record<string, string>> = {}) {
  const { status, body } = await exchange(subject, more);
  expect(body, "the exchange").toMatchObject({ access_token: expect.any(String) });
  expect(status).toBe(200);
  return (await records.next("session.opened")).data.identity;
}

async function refused(subject: string, more: Readonly<Record<string, string>> = {}) {
  const { status } = await exchange(subject, more);
  const { code } = (await records.next("exchange.refused")).data;
  return { status, code };
}

const circleJob = {
  iss: circle,
  "oidc.circleci.com/project-id": "7b6a5948-0000-4000-8000-000000000001",
  "oidc.circleci.com/job-id": "j-1",
};
const awsJob = {
  iss: awsTokens,
  sub: "arn:aws:iam::111122223333:role/ci/shop-ci",
  "https://sts.amazonaws.com/": { aws_account: "111122223333" },
};

describe("a token of", () => {
  test.each<{ what: string; claims: Readonly<Record<string, unknown>>; identity: object }>([
    { what: "GitLab", claims: branchJob, identity: { issuerType: "gitlab", job: { id: "7712" } } },
    { what: "Buildkite, of a build that may be a fork's", claims: stepJob, identity: { fork: "unknown" } },
    { what: "GitHub", claims: pushJob, identity: { issuerType: "github", job: { id: "500100" }, fork: "no" } },
    { what: "an issuer by its mapping", claims: circleJob, identity: { issuer: "circleci", issuerType: "oidc" } },
    { what: "AWS", claims: awsJob, identity: { issuerType: "aws", project: { path: "111122223333/role/shop-ci" } } },
  ])("$what opens a session", async ({ claims, identity }) => {
    expect(await opened(token(claims))).toMatchObject(identity);
  });

  test.each<{ what: string; claims: () => Readonly<Record<string, unknown>>; code: string }>([
    { what: "GitHub, of a pull request", claims: () => pullRequestJob, code: "no_role" },
    {
      what: "GitHub, of pull_request_target",
      claims: () => ({ ...pushJob, event_name: "pull_request_target" }),
      code: "no_role",
    },
    { what: "GitHub, of another environment", claims: () => ({ ...pushJob, environment: "staging" }), code: "no_role" },
    { what: "GitHub under AWS's issuer", claims: () => ({ ...pushJob, iss: awsTokens }), code: "identity_refused" },
    {
      what: "GitHub's repository under a new id",
      claims: () => ({ ...pushJob, repository_id: "1" }),
      code: "project_id_changed",
    },
    {
      what: "another account's role",
      claims: () => ({ ...awsJob, sub: "arn:aws:iam::999988887777:role/shop-ci" }),
      code: "identity_refused",
    },
    {
      what: "an enterprise's own issuer",
      claims: () => ({ ...pushJob, iss: `${pushJob.iss}/acme-corp` }),
      code: "issuer_unknown",
    },
  ])("$what opens none", async ({ claims, code }) => {
    expect(await refused(token(claims()))).toMatchObject({ code });
  });
});

describe("the CLI in a job of", () => {
  const runner = () => ({
    PATH: process.env.PATH ?? "",
    HOME: installation.directory,
    XDG_RUNTIME_DIR: installation.directory,
    WAYLEAVE_URL: installation.url,
  });

  test("GitHub asks for the token itself; a fact that only the token claims is recorded as such", async () => {
    const env = {
      ...runner(),
      GITHUB_SERVER_URL: "https://github.com",
      GITHUB_REPOSITORY: "acme/shop",
      GITHUB_RUN_ID: "9001",
      GITHUB_RUN_ATTEMPT: "1",
      GITHUB_JOB: "deploy",
      RUNNER_NAME: "GitHub Actions 3",
      ACTIONS_ID_TOKEN_REQUEST_URL: `${cloud.url}/token?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: "request-secret",
    };
    const done = await wayleave(env, "token", "--stdout");
    expect(done).toMatchObject({ status: 0, err: expect.not.stringContaining("request-secret") });
    expect((await records.next("session.opened")).data.identity.job.id).toBe("777");
    const edge = { target: "billing", method: "POST", host: "billing.internal", path: "/v1/invoices" };
    expect(await askEdge(installation, { ...edge, token: done.out.trim() })).toMatchObject({
      decision: "allow",
      reason: "allowed",
    });
    const { facts } = (await records.next("decision")).data;
    expect(facts).toEqual([{ name: "runner.ephemeral", value: true, ageMs: expect.any(Number), claimed: true }]);
  });

  test("AWS signs with the job's own credentials, which never leave it; the signature is good once", async () => {
    const { secret = "", token: session = "" } = fakeKeys.ASIA000000000SHOPCI ?? {};
    const env = {
      ...runner(),
      CODEBUILD_BUILD_ID: "shop:77",
      AWS_REGION: "eu-central-1",
      AWS_ENDPOINT_URL_STS: cloud.url,
      AWS_ACCESS_KEY_ID: "ASIA000000000SHOPCI",
      AWS_SECRET_ACCESS_KEY: secret,
      AWS_SESSION_TOKEN: session,
    };
    expect(await wayleave(env, "token")).toMatchObject({ status: 0 });
    const record = await records.next("session.opened");
    expect(record.data.identity).toMatchObject({ attributes: { session_name: "AWSCodeBuild-77" }, fork: "no" });
    expect(JSON.stringify(record)).not.toMatch(new RegExp(`${secret}|${session}`));
    const proof = await awsProof(env, installation.url, {});
    const signed = { subject_token_type: awsProofType };
    await opened(proof, signed);
    expect(await refused(proof, signed)).toMatchObject({ code: "subject_token_replayed" });
    const forOther = await awsProof(env, "https://other.example", {});
    expect(await refused(forOther, signed)).toMatchObject({ code: "subject_token_invalid" });
  });

  test("nobody, whose signed request says it is a token", async () => {
    expect(await refused("aws4.e30")).toMatchObject({ code: "invalid_request" });
    expect(await refused("aws4.e30", { subject_token_type: awsProofType })).toMatchObject({
      code: "subject_token_invalid",
    });
    expect(await refused(token(pushJob), { subject_token_type: awsProofType })).toMatchObject({
      code: "invalid_request",
    });
  });
});

describe("a runner", () => {
  const proven = { ...pushJob, repository: "acme/proven", repository_id: "90", check_run_id: "90" };
  const svid = (sub: string, aud = installation.url) => {
    const exp = Math.floor(Date.now() / 1000) + 60;
    return {
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
      client_assertion: rs256(runnerKey, { sub, aud, exp }, { alg: "RS256", kid: "mesh-1" }),
    };
  };

  test("proves itself beside the job, and a selector may ask for it", async () => {
    const identity = await opened(token(proven), svid("spiffe://mesh.example/runner/7"));
    expect(identity).toMatchObject({
      project: { path: "acme/proven" },
      runner: { environment: "github-hosted", spiffeId: "spiffe://mesh.example/runner/7" },
    });
  });

  test.each([
    { what: "no proof", more: () => ({}), code: "no_role" },
    { what: "a workload that is no runner", more: () => svid("spiffe://mesh.example/ns/x"), code: "spiffe_id_refused" },
    { what: "another domain's", more: () => svid("spiffe://evil.example/runner/7"), code: "spiffe_id_refused" },
    {
      what: "a proof for somebody else",
      more: () => svid("spiffe://mesh.example/runner/7", "x"),
      code: "credential_invalid",
    },
    {
      what: "the CI's own key",
      more: () => ({ ...svid("spiffe://mesh.example/runner/7"), client_assertion: token(proven) }),
      code: "credential_invalid",
    },
  ])("with $what gets nothing", async ({ more, code }) => {
    expect(await refused(token({ ...proven, check_run_id: "91" }), more())).toMatchObject({ code });
  });
});
