import { describe, expect, test } from "vitest";
import { parsePolicy } from "./parse.ts";
import type { ConfiguredIssuer } from "./reading.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const community: ConfiguredIssuer = { name: "gitlab", type: "gitlab", edition: "community" };
const enterprise: ConfiguredIssuer = { name: "gitlab-ee", type: "gitlab" };
const head = "version: 1\ntargets: { billing: { http: { hosts: [billing.internal] } } }\n";
const role = (selector: string, when = "") =>
  `${head}roles: { read: { for: [${selector}], ${when} allow: { billing: [GET /] } } }\n`;

function warnings(text: string, issuers: readonly ConfiguredIssuer[] = [community]) {
  const { diagnostics } = parsePolicy({ files: [{ name: "p.yaml", text }], vocabulary: fakeVocabulary, issuers });
  return diagnostics
    .filter(({ code }) => code === "environment_never_protected")
    .map(({ severity, place }) => `${severity} ${place.line}`);
}

const shop = "gitlab: { project: acme/shop, environment: production";
const asking = `{ ${shop}, environment_protected: true } }`;

describe("environment_never_protected", () => {
  test.each([
    { what: "a role's selector", text: role(asking) },
    {
      what: "a condition of a role that is only that issuer's",
      text: role(`{ ${shop} } }`, "when: environment.protected,"),
    },
    {
      what: "a deny, which would protect nothing",
      text: `${role(`{ ${shop} } }`)}deny: [{ for: ${asking}, because: x }]\n`,
    },
    {
      what: "a selector that several roles use",
      text: `${head}who: { p: ${asking} }\nroles:\n  a: { for: [p], allow: { billing: [GET /] } }\n  b: { for: [p], allow: { billing: [GET /x] } }\n`,
    },
  ])("warns of $what, once", ({ text }) => {
    expect(warnings(text)).toEqual([expect.stringMatching(/^warning /)]);
  });

  test.each<{ what: string; text: string; issuers?: readonly ConfiguredIssuer[] }>([
    { what: "an environment beside a protected ref", text: role(`{ ${shop}, ref: main, ref_protected: true } }`) },
    { what: "an environment that is not protected", text: role(`{ ${shop}, environment_protected: false } }`) },
    { what: "GitLab with protected environments", text: role(asking), issuers: [{ name: "gitlab", type: "gitlab" }] },
    { what: "a type that has both", text: role(asking), issuers: [community, enterprise] },
    {
      what: "another issuer by its name",
      text: role(asking.replace("gitlab:", "gitlab-ee:")),
      issuers: [community, enterprise],
    },
    {
      what: "a condition that another issuer's jobs can meet",
      text: role(`{ ${shop} } }, { ${shop.replace("gitlab:", "gitlab-ee:")} } }`, "when: environment.protected,"),
      issuers: [community, enterprise],
    },
    { what: "no configuration", text: role(asking), issuers: [] },
  ])("says nothing of $what", ({ text, issuers }) => {
    expect(warnings(text, issuers)).toEqual([]);
  });
});
