import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { loadConfig } from "../config/load.ts";
import { ManualClock, rs256, signingKey } from "../identity/subject-tokens.fake.ts";
import { connectIssuers } from "./issuers.ts";

type Claims = Readonly<Record<string, unknown>>;

const guide = readFileSync(new URL("../../docs/guides/other-issuers.md", import.meta.url), "utf8");
const clock = new ManualClock();
const key = signingKey("k1");
const broker = "https://wayleave.example";

/** The configuration that a section of the guide shows, as a running broker has it; the issuer's keys are uploaded. */
function issuerOf(section: string) {
  const [, text = ""] = new RegExp(`## ${section}\\n[^#]*?\`\`\`yaml\\n(issuers:[^\`]*)\`\`\``).exec(guide) ?? [];
  const { issuers } = parse(text) as { issuers: [Record<string, unknown>] };
  const file = {
    issuer: broker,
    trust_domain: "acme.example",
    keys: { encryption_key_file: "key" },
    issuers: [{ ...issuers[0], jwks_file: "jwks.json" }],
  };
  const loaded = loadConfig({
    path: "/etc/wayleave.yaml",
    env: {},
    readFile: (path) =>
      path.endsWith(".yaml")
        ? stringify(file)
        : path.endsWith("jwks.json")
          ? JSON.stringify({ keys: [key.jwk] })
          : Buffer.alloc(32, 7).toString("base64"),
  });
  if (!("config" in loaded)) throw new TypeError(JSON.stringify(loaded.diagnostics));
  const [issuer] = loaded.config.issuers;
  const { verifier } = connectIssuers(loaded.config, clock, () => undefined);
  const times = { iat: clock.seconds, nbf: clock.seconds, exp: clock.seconds + 600 };
  const base = { iss: issuer?.url, aud: issuer?.audience, jti: "j-1", ...times };
  return { verify: (claims: Claims) => verifier.verify(rs256(key, { ...base, ...claims })) };
}

const org = "5e0b5f6c-0000-4000-8000-000000000001";
const uuid = (n: number) => `7b6a5948-0000-4000-8000-00000000000${n}`;
const tenant = "11111111-2222-4333-8444-555555555555";
const circle = (name: string) => `oidc.circleci.com/${name}`;

interface Example {
  readonly section: string;
  readonly claims: Claims;
  readonly identity: object;
  readonly refused: readonly { readonly what: string; readonly more: Claims; readonly code?: string }[];
}

const examples: readonly Example[] = [
  {
    section: "CircleCI",
    claims: {
      sub: `org/${org}/project/${uuid(1)}/user/${uuid(9)}/vcs-origin/github.com/acme/shop/vcs-ref/refs/heads/main`,
      [circle("org-id")]: org,
      [circle("project-id")]: uuid(1),
      [circle("workflow-id")]: uuid(2),
      [circle("job-id")]: uuid(3),
      [circle("vcs-ref")]: "refs/heads/main",
      [circle("vcs-origin")]: "github.com/acme/shop",
      [circle("ssh-rerun")]: false,
    },
    identity: {
      project: { id: uuid(1), path: uuid(1) },
      pipelineId: uuid(2),
      job: { id: `${uuid(1)}:${uuid(3)}` },
      ref: "main",
      refType: "branch",
      fork: "no",
      attributes: { organization: org, project: uuid(1), ref: "main", ref_type: "branch" },
    },
    refused: [
      { what: "a job somebody entered by SSH", more: { [circle("ssh-rerun")]: true } },
      { what: "ssh-rerun as text", more: { [circle("ssh-rerun")]: "false" } },
      { what: "no word about SSH", more: { [circle("ssh-rerun")]: undefined } },
      { what: "no job", more: { [circle("job-id")]: undefined } },
      { what: "no project", more: { [circle("project-id")]: undefined } },
      { what: "another organization's issuer", more: { iss: `${org}x` }, code: "issuer_unknown" },
    ],
  },
  {
    section: "Jenkins",
    claims: {
      sub: "https://jenkins.acme.example/job/acme/job/shop/",
      job_name: "acme/shop/main",
      build_number: 41,
      branch: "main",
    },
    identity: {
      project: { id: expect.stringMatching(/^n-[0-9a-f]{32}$/), path: "acme/shop/main" },
      job: { id: expect.stringMatching(/^n-[0-9a-f]{32}:41$/) },
      ref: "main",
      fork: "unknown",
      attributes: { group: ["acme", "acme/shop"], project: "acme/shop/main" },
    },
    refused: [
      { what: "no build", more: { build_number: null } },
      { what: "half a build", more: { build_number: 4.5 } },
      { what: "no job", more: { job_name: "" } },
      { what: "a job with a line break", more: { job_name: "acme/shop\nevil" } },
      { what: "a job that is an object", more: { job_name: {} } },
      { what: "another audience", more: { aud: "https://other.example" }, code: "audience_refused" },
    ],
  },
  {
    section: "Bitbucket Pipelines",
    claims: {
      sub: `{${uuid(1)}}:{${uuid(5)}}`,
      repositoryUuid: `{${uuid(1)}}`,
      workspaceUuid: `{${uuid(4)}}`,
      pipelineUuid: `{${uuid(2)}}`,
      stepUuid: `{${uuid(3)}}`,
      branchName: "main",
      deploymentEnvironmentUuid: `{${uuid(5)}}`,
    },
    identity: {
      project: { id: uuid(1), path: uuid(1) },
      pipelineId: uuid(2),
      job: { id: `${uuid(1)}:${uuid(3)}` },
      ref: "main",
      environment: uuid(5),
      fork: "no",
      attributes: { organization: uuid(4), environment: uuid(5) },
    },
    refused: [
      { what: "no step", more: { stepUuid: undefined } },
      { what: "no repository", more: { repositoryUuid: undefined } },
      { what: "an id that is a path", more: { repositoryUuid: "../evil" } },
      {
        what: "the broker's own audience, which Bitbucket does not give",
        more: { aud: broker },
        code: "audience_refused",
      },
    ],
  },
  {
    section: "Okta",
    claims: { ver: 1, cid: "0oa1clientexample", sub: "0oa1clientexample", scp: ["wayleave.exchange"] },
    identity: {
      project: { path: "0oa1clientexample" },
      job: { id: expect.stringMatching(/:j-1$/) },
      fork: "no",
      attributes: { project: "0oa1clientexample", roles: ["wayleave.exchange"] },
    },
    refused: [
      { what: "a person's token", more: { uid: "00u1" } },
      { what: "a person's token with an empty uid", more: { uid: null } },
      { what: "no client", more: { cid: undefined } },
      { what: "no id of the token", more: { jti: undefined } },
      { what: "scopes as text", more: { scp: "wayleave.exchange" } },
    ],
  },
  {
    section: "Entra ID",
    claims: {
      azp: "33333333-2222-4333-8444-555555555555",
      oid: "44444444-2222-4333-8444-555555555555",
      sub: "44444444-2222-4333-8444-555555555555",
      tid: tenant,
      ver: "2.0",
      idtyp: "app",
      uti: "Abc_-1",
      roles: ["Wayleave.Exchange"],
    },
    identity: {
      project: { id: "44444444-2222-4333-8444-555555555555", path: "33333333-2222-4333-8444-555555555555" },
      job: { id: "44444444-2222-4333-8444-555555555555:Abc_-1" },
      fork: "no",
      attributes: { organization: tenant, roles: ["Wayleave.Exchange"] },
    },
    refused: [
      { what: "another tenant", more: { tid: uuid(1) } },
      { what: "a person's token", more: { scp: "user.read" } },
      { what: "no word that it is an application", more: { idtyp: undefined } },
      { what: "a user's type", more: { idtyp: "user" } },
      { what: "version 1", more: { ver: "1.0" } },
      { what: "a list of tenants without ours", more: { tid: [uuid(1)] } },
      { what: "no application", more: { azp: undefined } },
      { what: "a life of a day", more: { exp: clock.seconds + 86_400 }, code: "subject_token_invalid" },
    ],
  },
  {
    section: "AWS",
    claims: {
      sub: "arn:aws:iam::111122223333:role/ci/shop-ci",
      "https://sts.amazonaws.com/": {
        aws_account: "111122223333",
        org_id: "o-example",
        source_region: "eu-central-1",
        request_tags: { role: "admin" },
      },
    },
    identity: {
      project: { path: "111122223333/role/shop-ci" },
      job: { ofRun: true },
      fork: "no",
      attributes: { account: "111122223333", role: "shop-ci", organization: "o-example", region: "eu-central-1" },
    },
    refused: [
      { what: "another account", more: { sub: "arn:aws:iam::999988887777:role/shop-ci" } },
      {
        what: "an account that is not configured",
        more: {
          sub: "arn:aws:iam::999988887777:role/shop-ci",
          "https://sts.amazonaws.com/": { aws_account: "999988887777" },
        },
      },
      { what: "the root user", more: { sub: "arn:aws:iam::111122223333:root" } },
      { what: "no word of AWS", more: { "https://sts.amazonaws.com/": undefined } },
      { what: "an account as a number", more: { "https://sts.amazonaws.com/": { aws_account: 111122223333 } } },
      { what: "a service", more: { sub: "lambda.amazonaws.com" } },
      { what: "a life of two hours", more: { exp: clock.seconds + 7200 }, code: "subject_token_invalid" },
    ],
  },
];

describe.each(examples)("the guide's $section", ({ section, claims, identity, refused }) => {
  const issuer = issuerOf(section);

  test("means this job", async () => {
    const found = (await issuer.verify(claims)).identity;
    expect(found).toMatchObject(identity);
    // It stands in a SPIFFE ID.
    expect(found.project.id).toMatch(/^[A-Za-z0-9._-]{1,64}$/);
  });

  test.each(refused)("refuses $what", async ({ more, code = "identity_refused" }) => {
    await expect(issuer.verify({ ...claims, ...more })).rejects.toMatchObject({ code });
  });
});
