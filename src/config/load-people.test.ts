import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { load, smallest } from "./load.fake.ts";

const people = (text: string) => `${smallest}people: { issuer: https://id.example, client_id: cli, ${text} }\n`;
const okta = (issuer: string) =>
  `${smallest}people: { type: okta, issuer: "${issuer}", client_id: cli, roles: { operator: [ops] } }\n`;
const admins = "0f1e2d3c-0000-4000-8000-00000000000a";

test.each([
  { type: "oidc", group: "ops", claim: "groups", scopes: ["openid", "profile"] },
  { type: "okta", group: "ops", claim: "groups", scopes: ["openid", "profile", "groups"] },
  { type: "entra", group: admins, claim: "groups", scopes: ["openid", "profile"] },
  { type: "gitlab", group: "acme/ops", claim: "groups_direct", scopes: ["openid", "profile"] },
])("a directory of type $type gets its defaults", ({ type, group, claim, scopes }) => {
  expect(load(people(`type: ${type}, roles: { operator: [${group}] }`))).toMatchObject({
    config: {
      people: {
        type,
        issuer: "https://id.example",
        clientId: "cli",
        groupsClaim: claim,
        scopes,
        roles: { viewer: [], auditor: [], approver: [], operator: [group] },
        sessionMs: 28_800_000,
      },
    },
  });
});

test("google lists people by sub, of one domain", () => {
  const google = people('type: google, hosted_domain: acme.example, session: 1h, roles: { operator: ["1098"] }');
  expect(load(google)).toMatchObject({
    config: { people: { groupsClaim: "sub", hostedDomain: "acme.example", sessionMs: 3_600_000 } },
  });
});

test("an issuer may end with a slash, which is part of it", () => {
  const text = okta("https://acme.eu.auth0.com/").replace("type: okta", "type: oidc");
  expect(load(text)).toMatchObject({ config: { people: { issuer: "https://acme.eu.auth0.com/" } } });
});

test.each([
  { what: "no role", text: people("roles: {}"), found: ["invalid_value {}"] },
  { what: "an empty role", text: people("roles: { operator: [] }"), found: ["invalid_value []"] },
  {
    what: "a role there is not",
    text: people("roles: { admin: [a] }"),
    found: ["invalid_value { admin", "unknown_key admin:"],
  },
  { what: "two days of sign-in", text: people("session: 48h, roles: { operator: [a] }"), found: ["invalid_value 48h"] },
  {
    what: "a scope with a space",
    text: people("scopes: [a b], roles: { operator: [a] }"),
    found: ["invalid_value a b"],
  },
  { what: "plain http", text: okta("http://id.example"), found: ['invalid_value "http:'] },
  {
    what: "a query in the issuer",
    text: okta("https://id.example?a=b"),
    found: ['invalid_value "https://id.example?'],
  },
  { what: "a password in the issuer", text: okta("https://a:b@id.example"), found: ['invalid_value "https://a:b@'] },
  {
    what: "Okta's admin console",
    text: okta("https://acme-admin.okta.com"),
    found: ['people_issuer_admin "https://acme-admin'],
  },
  {
    what: "this broker as its own directory",
    text: okta("https://wayleave.example"),
    found: ['people_issuer_self "https://wayleave'],
  },
  {
    what: "every Entra directory",
    text: okta("https://login.microsoftonline.com/common/v2.0")
      .replace("okta", "entra")
      .replace("[ops]", `[${admins}]`),
    found: ['people_issuer_open "https://login'],
  },
  {
    what: "the jobs' audience",
    text: people("roles: { operator: [a] }").replace("client_id: cli", "client_id: https://wayleave.example"),
    found: ["people_audience_shared https://wayleave"],
  },
  {
    what: "an issuer's own audience",
    text: people("roles: { operator: [a] }").replace("type: gitlab }", "type: gitlab, audience: cli }"),
    found: ["people_audience_shared cli,"],
  },
  {
    what: "google without a domain",
    text: people('type: google, roles: { operator: ["1"] }'),
    found: ["hosted_domain_missing { issuer"],
  },
  {
    what: "a domain without google",
    text: people("hosted_domain: acme.example, roles: { operator: [a] }"),
    found: ["hosted_domain_misplaced acme.example"],
  },
  {
    what: "groups of google",
    text: people('type: google, hosted_domain: acme.example, groups_claim: groups, roles: { operator: ["1"] }'),
    found: ["groups_claim_misplaced groups,"],
  },
  {
    what: "an address for google",
    text: people("type: google, hosted_domain: acme.example, roles: { operator: [a@acme.example] }"),
    found: ["people_group_form a@acme"],
  },
  {
    what: "a group's name for entra",
    text: people("type: entra, roles: { viewer: [Operators] }"),
    found: ["people_group_form Operators"],
  },
  {
    what: "a group's address for gitlab",
    text: people("type: gitlab, roles: { viewer: [https://gitlab.com/acme] }"),
    found: ["people_group_form https://gitlab"],
  },
])("$what is refused in its place", ({ text, found }) => {
  const loaded = load(text);
  const lines = text.split("\n");
  const told = "diagnostics" in loaded ? loaded.diagnostics : [];
  const places = told.map(({ code, place }) => `${code} ${lines[place.line - 1]?.slice(place.column - 1)}`);
  expect(places.map((each, at) => each.slice(0, found[at]?.length))).toEqual(found);
  expect(told.every(({ help }) => help !== "")).toBe(true);
});

test("entra's app roles are names", () => {
  const text = people("type: entra, groups_claim: roles, roles: { operator: [Wayleave.Operator] }");
  expect(load(text)).toMatchObject({ config: { people: { groupsClaim: "roles" } } });
});

test("every block of the guide is a configuration", () => {
  const guide = readFileSync(new URL("../../docs/guides/people.md", import.meta.url), "utf8");
  const blocks = [...guide.matchAll(/^```yaml\n(people:[\s\S]*?)^```$/gm)].map(([, block = ""]) => block);
  expect(blocks.length).toBeGreaterThan(5);
  for (const block of blocks) expect(load(smallest + block)).toHaveProperty("config.people");
});
