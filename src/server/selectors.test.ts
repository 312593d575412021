import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { awsIdentity, parsePrincipal } from "../ci/aws/principal.ts";
import { providerOf, vocabulary } from "../ci/providers.ts";
import { situations, type WrittenSelector } from "../ci/situations.ts";
import { type IssuerType, issuerTypes, type JobIdentity, jobKey } from "../core/identity.ts";
import { compile } from "../policy/compile.ts";
import { parsePolicy } from "../policy/parse.ts";
import { anchors, type Changes, type SelectorCase, usual } from "./selector-cases.fake.ts";
import { fieldCases } from "./selector-fields.fake.ts";
import { situationCases } from "./selector-situations.fake.ts";

const aws = { accounts: ["111122223333", "999988887777"], forks: "none" as const };
const oidc = {
  claims: {
    project: "name",
    project_id: "id",
    organization: "org",
    ref: "branch",
    environment: "env",
    source: "why",
    user_id: "who",
    runner_environment: "machine",
    roles: "roles",
  },
  forks: "none" as const,
};

/** The job of a token with these claims, and what the broker itself learned of it: `fork`, `caused_by`, `proven runner`. */
function jobOf(type: IssuerType, changes: Changes): JobIdentity {
  const {
    fork,
    caused_by: event,
    "proven runner": runner,
    "signed as": userId,
    ...claims
  } = {
    ...usual[type],
    ...changes,
  } as Changes & Record<string, string | undefined>;
  const issuer = { name: type, url: "https://ci.example" };
  const verified =
    userId === undefined
      ? providerOf({ type, aws, oidc })?.identity(claims, issuer)
      : awsIdentity({ principal: parsePrincipal(String(claims.sub)), userId }, aws, issuer);
  if (verified === undefined) throw new TypeError("every type has a provider");
  const cause = { session: "ses_0000000000000001", job: jobKey(type, "1"), project: "acme/image", depth: 1 };
  return {
    ...verified,
    ...(fork === undefined ? {} : { fork: fork as JobIdentity["fork"] }),
    ...(event === undefined ? {} : { cause: { ...cause, event } }),
    ...(runner === undefined ? {} : { attributes: { ...verified.attributes, runner } }),
  };
}

/** Whether a role for this selector is the job's, and whether a deny for it is. */
function policyOf(type: IssuerType, selector: WrittenSelector) {
  const text = stringify(
    {
      version: 1,
      targets: { billing: { http: { hosts: ["billing.internal"] } }, events: { nats: { account: "CI" } } },
      who: { job: { [type]: selector } },
      roles: {
        read: { for: ["job"], allow: { billing: ["GET /"] } },
        push: { for: [{ gitlab: { project: "acme/image" } }], allow: { events: ["pub image.>"] } },
      },
      deny: [{ for: { [type]: selector }, targets: ["billing"], because: "a test" }],
      events: Object.fromEntries(
        ["deploy", "other"].map((event) => [
          event,
          {
            on: { target: "events", stream: "IMAGES", subject: `image.${event}.*` },
            for: [{ gitlab: { project: "acme/image" } }],
            start: { gitlab: { project: "acme/web/shop", ref: "main" } },
          },
        ]),
      ),
    },
    { aliasDuplicateObjects: false },
  );
  const { model, diagnostics } = parsePolicy({ files: [{ name: "p.yaml", text }], vocabulary });
  const errors = diagnostics.filter(({ severity }) => severity === "error");
  expect(errors.map(({ code, message }) => `${code}: ${message}`)).toEqual([]);
  if (model === undefined) throw new TypeError("the policy loads");
  const policy = compile(model, vocabulary);
  return {
    matches: (job: JobIdentity) => policy.rolesFor(job).some(({ id }) => id === "read"),
    denies: (job: JobIdentity) => policy.deniesFor(job, ["billing"]).length > 0,
  };
}

function rowTests(type: IssuerType, selector: WrittenSelector, { matches, refuses }: SelectorCase): void {
  const policy = policyOf(type, selector);
  const job = (changes: Changes) => jobOf(type, changes);
  expect(policy.matches(job(matches ?? {})), "what it is for").toBe(true);
  expect(policy.denies(job(matches ?? {})), "in a deny").toBe(true);
  for (const changes of refuses) expect(policy.matches(job(changes)), JSON.stringify(changes)).toBe(false);
}

describe.each(issuerTypes)("%s", (type) => {
  const fields: Readonly<Record<string, (typeof fieldCases)["aws"]["role"]>> = fieldCases[type];
  const cases: Readonly<Record<string, SelectorCase>> = situationCases[type];

  test("every field and every situation of the table is a test, and no other", () => {
    expect(Object.keys(fields).toSorted()).toEqual(Object.keys(vocabulary[type]).toSorted());
    expect(Object.keys(cases).toSorted()).toEqual(Object.keys(situations[type]).toSorted());
  });

  test.each(Object.entries(fields))("field %s", (field, row) => {
    // Buildkite's tokens say nothing of forks, which is not what these rows are about.
    const settled: Changes = type === "buildkite" ? { fork: "no" } : {};
    const all = (changes: Changes) => ({ ...settled, ...changes });
    const [first, second, ...rest] = row.refuses.map(all);
    rowTests(
      type,
      {
        ...((vocabulary[type] as Readonly<Record<string, { anchors: boolean }>>)[field]?.anchors ? {} : anchors[type]),
        [field]: row.value,
      },
      { matches: all(row.matches ?? {}), refuses: [first ?? {}, second ?? {}, ...rest] },
    );
  });

  test.each(Object.entries(cases))("situation %s", (name, row) => {
    const table: Readonly<Record<string, { readonly selector: WrittenSelector }>> = situations[type];
    rowTests(type, table[name]?.selector ?? {}, row);
  });
});

test("refusals outnumber matches", () => {
  const rows: readonly SelectorCase[] = [fieldCases, situationCases].flatMap((table) =>
    Object.values(table).flatMap((ofType) => Object.values(ofType) as SelectorCase[]),
  );
  expect(rows.flatMap(({ refuses }) => refuses).length).toBeGreaterThan(2 * rows.length);
});

describe("a claim that is missing", () => {
  test.each(["gitlab", "github", "oidc"] as const)("of %s is a mismatch in a role, and a match in a deny", (type) => {
    const claim = { gitlab: "environment", github: "environment", oidc: "env" }[type];
    const { matches, denies } = policyOf(type, { ...anchors[type], environment: "production" });
    const job = jobOf(type, { [claim]: undefined });
    expect([matches(job), denies(job)]).toEqual([false, true]);
  });
});

describe("a fork", () => {
  test.each(issuerTypes)("of %s matches nothing that does not say fork: true, nor one that may be", (type) => {
    const without = policyOf(type, anchors[type]);
    const said = policyOf(type, { ...anchors[type], fork: true });
    const standing = (fork: string) => [without.matches(jobOf(type, { fork })), said.matches(jobOf(type, { fork }))];
    expect(["no", "unknown", "yes"].map(standing)).toEqual([
      [true, true],
      [false, true],
      [false, true],
    ]);
  });
});
