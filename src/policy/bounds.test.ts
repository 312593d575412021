import { expect, test } from "vitest";
import type { Bounds } from "./bounds.ts";
import { judgeSources, type PolicySourceTexts } from "./sources.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const platform = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
  payroll: { http: { hosts: [payroll.internal] } }
who: { everybody: { gitlab: { project: "acme/**" } } }
roles: { health: { for: [everybody], allow: { billing: [GET /health], payroll: [GET /health] } } }
`;
const bounds: Bounds = {
  projects: ["gitlab/acme/billing/**", "gitlab/acme/shop", "buildkite/acme/billing-*"],
  targets: ["billing", "review-*"],
  hosts: ["*.review.acme.example"],
};
const issuers = [
  { name: "gitlab", type: "gitlab" },
  { name: "gl-eu", type: "gitlab" },
  { name: "buildkite", type: "buildkite" },
] as const;

const source = (name: string, text: string, more: Partial<PolicySourceTexts> = {}): PolicySourceTexts => ({
  name,
  files: [{ name: `${name}.yaml`, text: text.startsWith("version") ? text : `version: 1\n${text}` }],
  ...more,
});
const judge = (...sources: readonly PolicySourceTexts[]) => {
  const { diagnostics } = judgeSources(sources, { vocabulary: fakeVocabulary, issuers });
  return diagnostics
    .filter(({ severity }) => severity === "error")
    .map(({ code, place, message }) => `${place.file}:${place.line} ${code}: ${message}`);
};
const team = (text: string, more: Partial<PolicySourceTexts> = {}) =>
  judge(source("platform", platform), source("team", text, { bounds, ...more }));
const role = (selector: string, allow = "billing: [GET /x]") =>
  `roles: { mine: { for: [${selector}], allow: { ${allow} } } }`;

test.each([
  ["its own project", role("{ gitlab: { project: acme/shop } }")],
  ["a project below its group", role("{ gitlab: { project: acme/billing/api, ref: main } }")],
  ["a glob below its group", role('{ gitlab: { project: "acme/billing/*" } }')],
  ["its group", role("{ gitlab: { group: acme/billing } }")],
  ["one issuer of the type it may name", role("{ gl-eu: { project: acme/shop } }")],
  ["its own pipeline", role("{ buildkite: { organization: acme, pipeline: billing-e2e } }")],
  ["a wide project beside its own group", role('{ gitlab: { project: "acme/**", group: acme/billing } }')],
  [
    "a target of its own",
    `targets: { review-1: { http: { hosts: ["\${environment.slug}.review.acme.example"] } } }\n${role("{ gitlab: { project: acme/shop } }", "review-1: [GET /**]")}`,
  ],
  ["a deny on its target for everybody", "deny: [{ for: { kind: agent }, targets: [billing], because: no }]"],
  ["a deny of everything for its project", "deny: [{ for: { gitlab: { project: acme/shop } }, because: no }]"],
])("a source may speak of %s", (_, text) => {
  expect(team(text)).toEqual([]);
});

test.each([
  ["another project", role("{ gitlab: { project: acme/payroll } }")],
  ["a project that only begins like its own", role("{ gitlab: { project: acme/shop-2 } }")],
  ["a project below its own, where only that is listed", role("{ gitlab: { project: acme/shop/x } }")],
  ["its own and another project", role("{ gitlab: { project: [acme/shop, acme/payroll] } }")],
  ["a wider glob", role('{ gitlab: { project: "acme/**" } }')],
  ["a glob that may be more than its own", role('{ gitlab: { project: "acme/b*/x" } }')],
  ["a group above its own", role("{ gitlab: { group: acme } }")],
  ["its own and another group", role('{ gitlab: { group: [acme/billing, "acme/x/*"] } }')],
  ["an id, which could be anybody's", role('{ gitlab: { project_id: "1042" } }')],
  ["another issuer's project of the same path", role("{ buildkite: { organization: acme, pipeline: shop } }")],
  ["a whole organization", role("{ buildkite: { organization: acme } }")],
  ["another target", role("{ gitlab: { project: acme/shop } }", "payroll: [GET /x]")],
  [
    "a SPIFFE ID",
    "roles: { mine: { for: [{ gitlab: { project: acme/shop } }], spiffe_id: spiffe://acme.example/x, allow: { billing: [GET /x] } } }",
  ],
  ["a deny of everything for everybody", "deny: [{ for: { kind: agent }, because: no }]"],
  ["a deny on another target", "deny: [{ for: { kind: agent }, targets: [billing, payroll], because: no }]"],
  ["a deny for another project", "deny: [{ for: { gitlab: { project: acme/payroll } }, because: no }]"],
  ["a target of a name that is not its own", "targets: { mine: { http: { hosts: [a.review.acme.example] } } }"],
  ["a host that is not its own", "targets: { review-1: { http: { hosts: [vault.internal] } } }"],
  ["a host below its own", "targets: { review-1: { http: { hosts: [a.b.review.acme.example] } } }"],
  ["a secret", "targets: { review-1: { secret: { vault: kv/data/all, fields: [x] } } }"],
  ["a cloud role", 'targets: { review-1: { cloud: { aws: "arn:aws:iam::111122223333:role/admin" } } }'],
  ["another's selector", role("everybody")],
])("a source that speaks of %s oversteps, and it is said where", (_, text) => {
  const found = team(text);
  expect(found.length).toBeGreaterThan(0);
  for (const line of found) expect(line).toMatch(/^team\.yaml:2 source_oversteps: /);
});

test("nobody uses a selector that another source could widen, bounds or not", () => {
  const own = source("team", "who: { us: { gitlab: { project: acme/shop } } }", { bounds });
  const wide = source("wide", role("us"));
  expect(judge(source("platform", platform), own, wide)).toEqual([
    'wide.yaml:2 source_oversteps: "us" is of source team (team.yaml:2), which could change whom this is for',
  ]);
});

test("a source pins its own projects only, and no path that another one pins otherwise", () => {
  const lock = (name: string, path: string, id: string) => ({
    lock: { name: `${name}/wayleave.lock`, text: `version: 1\npins: { ${path}: "${id}" }\n` },
  });
  const other = "gitlab/acme/payroll";
  expect(team("roles: {}", lock("team", "gitlab/acme/shop", "1042"))).toEqual([]);
  expect(team("roles: {}", lock("team", other, "1042"))).toEqual([
    `team/wayleave.lock:1 source_oversteps: ${other} is pinned here, which is not a project of this source`,
  ]);
  const both = (id: string) =>
    judge(
      source("platform", platform, lock("platform", "gitlab/acme/shop", "1042")),
      source("team", "roles: {}", { bounds, ...lock("team", "gitlab/acme/shop", id) }),
    );
  expect(both("1042")).toEqual([]);
  expect(both("7")).toEqual([expect.stringContaining("pin_clashes: gitlab/acme/shop is pinned to another id")]);
});
