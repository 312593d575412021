import { describe, expect, test } from "vitest";
import { load, problems, smallest } from "./load.fake.ts";

const withIssuer = (text: string) => smallest.replace(/issuers:.*\n/, `issuers: [{ name: ci, ${text} }]\n`);
const oidc = "type: oidc, url: https://ci.example, oidc: { claims: { project: p } }";
const aws = 'type: aws, aws: { accounts: ["111122223333"], sts: [https://sts.eu-central-1.amazonaws.com] }';

describe("an issuer", () => {
  test.each([
    { what: "GitHub", text: "type: github", found: { type: "github" } },
    { what: "any that signs OIDC tokens", text: oidc, found: { oidc: { claims: { project: "p" } } } },
    { what: "AWS by signed requests", text: aws, found: { aws: { accounts: ["111122223333"] } } },
    {
      what: "AWS by tokens",
      text: 'type: aws, url: https://x.example, aws: { accounts: ["111122223333"] }',
      found: { url: "https://x.example" },
    },
    { what: "GitLab's Community Edition", text: "type: gitlab, edition: community", found: { edition: "community" } },
  ])("may be $what", ({ text, found }) => {
    expect(load(withIssuer(text))).toMatchObject({ config: { issuers: [{ name: "ci", ...found }] } });
  });

  test.each([
    { what: "OIDC without a url", text: "type: oidc, oidc: { claims: { project: p } }", code: "missing_key" },
    { what: "OIDC without its claims", text: "type: oidc, url: https://ci.example", code: "missing_key" },
    {
      what: "OIDC without a project",
      text: "type: oidc, url: https://ci.example, oidc: { claims: { job: j } }",
      code: "missing_key",
    },
    {
      what: "OIDC with a secret's algorithm",
      text: oidc.replace("oidc: {", "oidc: { algorithms: [HS256],"),
      code: "invalid_value",
    },
    { what: "OIDC with an API", text: `${oidc}, api: { token: "\${T}" }`, code: "issuer_key_misplaced" },
    { what: "OIDC with a webhook", text: `${oidc}, webhooks: []`, code: "issuer_key_misplaced" },
    { what: "AWS without accounts", text: "type: aws, url: https://x.example", code: "missing_key" },
    { what: "AWS that takes nothing", text: 'type: aws, aws: { accounts: ["111122223333"] }', code: "missing_key" },
    {
      what: "AWS with an account as a number",
      text: "type: aws, url: https://x.example, aws: { accounts: [111122223333] }",
      code: "wrong_type",
    },
    { what: "AWS with an STS by plain HTTP", text: aws.replace("https://sts", "http://sts"), code: "invalid_value" },
    { what: "AWS with a path behind its STS", text: aws.replace(".com]", ".com/x]"), code: "invalid_value" },
    { what: "GitHub that starts pipelines", text: "type: github, start: {}", code: "issuer_key_misplaced" },
    { what: "GitHub of an edition", text: "type: github, edition: community", code: "issuer_key_misplaced" },
    {
      what: "GitLab with AWS's part",
      text: 'type: gitlab, aws: { accounts: ["111122223333"], sts: [https://x] }',
      code: "issuer_key_misplaced",
    },
    {
      what: "GitLab with a mapping",
      text: "type: gitlab, oidc: { claims: { project: p } }",
      code: "issuer_key_misplaced",
    },
  ])("$what is $code", ({ text, code }) => {
    expect(problems(withIssuer(text), { T: "t" })).toEqual([expect.stringContaining(code)]);
  });
});
