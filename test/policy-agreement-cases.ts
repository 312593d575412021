import fc from "fast-check";
import { stringify } from "yaml";

/** Generated policies and requests for `policy-agreement.test.ts`. Every policy is valid by construction. */

export interface AgreementRequest {
  /** Which of the live sessions asks. */
  readonly session: number;
  readonly target: string;
  readonly method: string;
  readonly path: string;
}

/** Names that every policy keeps, since access tokens were minted for them. */
export const targetNames = ["billing", "review", "reports"];

const pathParts = ["a", "b", "v1", "release-1", "*", ":id", "re*", "${job.project_id}", "${environment.slug}"];
const pathPattern = fc
  .tuple(fc.uniqueArray(fc.constantFrom(...pathParts), { maxLength: 2 }), fc.boolean())
  .map(([parts, deep]) => `/${[...parts, ...(deep || parts.length === 0 ? ["**"] : [])].join("/")}`);

const operation = fc
  .tuple(fc.constantFrom("GET", "GET", "POST", "DELETE", "*"), pathPattern)
  .map(([method, path]) => `${method} ${path}`);

const allow = fc.dictionary(
  fc.constantFrom(...targetNames),
  fc.uniqueArray(operation, { minLength: 1, maxLength: 3 }),
  {
    minKeys: 1,
    maxKeys: 3,
  },
);

const manyClaims = fc.record(
  {
    ref: fc.constantFrom("main", "feature/x", "feature/*", "**"),
    source: fc.constantFrom("push", "merge_request_event"),
    ref_protected: fc.boolean(),
    environment: fc.constantFrom("production", "can*"),
    user_login: fc.constantFrom("dana", "lee"),
  },
  { requiredKeys: [] },
);

/** Mostly none or one, so that selectors also match. */
const claims = fc.oneof(
  { weight: 2, arbitrary: fc.constant({}) },
  { weight: 2, arbitrary: manyClaims.map((all) => Object.fromEntries(Object.entries(all).slice(0, 1))) },
  { weight: 1, arbitrary: manyClaims },
);

const anchored = fc
  .tuple(
    fc.constantFrom(
      { project: "acme/shop" },
      { project: "acme/*" },
      { group: "acme" },
      { project: ["acme/other", "acme/shop"] },
    ),
    claims,
  )
  .map(([anchor, more]) => ({ gitlab: { ...anchor, ...more } }));

/** A deny may be as broad as it likes. */
const broad = fc.oneof(
  anchored,
  claims.map((more) => ({ gitlab: { ref_type: "branch", ...more } })),
);

const conjunct = fc.constantFrom(
  "change.merged",
  "!change.merged",
  "change.approvals >= 1",
  "change.approvals == 2",
  'change.state == "opened"',
  'change.target == "main"',
  "change.iid > 1",
  'job.ref == "main"',
  'request.method == "GET"',
  "change.draft",
  "approval.given",
);

const when = fc
  .tuple(fc.uniqueArray(conjunct, { minLength: 1, maxLength: 3 }), fc.constantFrom(" && ", " || "))
  .map(([parts, join]) => parts.join(join));

const role = fc.record(
  {
    for: fc.array(anchored, { minLength: 1, maxLength: 2 }),
    allow,
    when,
    mode: fc.constantFrom("observe", "enforce"),
    limit: fc.constant({ rate: "100000/min", per: "session" }),
  },
  { requiredKeys: ["for", "allow"] },
);

const deny = fc.record(
  {
    for: broad,
    targets: fc.uniqueArray(fc.constantFrom(...targetNames), { minLength: 1, maxLength: 2 }),
    when,
    because: fc.constant("not today"),
  },
  { requiredKeys: ["for", "targets", "because"] },
);

const mode = fc.constantFrom("enforce", "enforce", "observe");

/** A session that policy grants nothing is suspended, which is another test: this role grants what nobody here asks for. */
const stay = { for: [{ gitlab: { group: "acme" } }], allow: { billing: ["GET /nobody/asks/for/this"] } };

/** A policy file's text. */
export const policyText = fc
  .record({
    roles: fc.array(role, { minLength: 1, maxLength: 6 }),
    deny: fc.oneof(
      { weight: 2, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(deny, { maxLength: 2 }) },
    ),
    modes: fc.tuple(mode, mode, mode),
  })
  .map(({ roles, deny: denies, modes }) =>
    stringify(
      {
        version: 1,
        targets: {
          billing: { http: { hosts: ["billing.internal"] }, mode: modes[0] },
          review: { http: { hosts: ["${environment.slug}.review.internal", "pr.review.internal"] }, mode: modes[1] },
          reports: { http: { hosts: ["reports.internal"], encoded_slash: "segment" }, mode: modes[2] },
        },
        roles: { stay, ...Object.fromEntries(roles.map((one, at) => [`role-${at}`, one])) },
        ...(denies.length === 0 ? {} : { deny: denies }),
      },
      { aliasDuplicateObjects: false },
    ),
  );

const plain = fc.constantFrom("a", "b", "v1", "release-1", "1", "2", "%20", "production");
const odd = fc.constantFrom("%2F", "a%2Fb", "..", "", "a;b", "ü", "%C3%BC");
const path = fc
  .array(fc.oneof({ weight: 12, arbitrary: plain }, { weight: 1, arbitrary: odd }), { maxLength: 3 })
  .map((parts) => `/${parts.join("/")}`);

export const agreementRequest = (sessions: number): fc.Arbitrary<AgreementRequest> =>
  fc.record({
    session: fc.nat(sessions - 1),
    target: fc.constantFrom(...targetNames),
    method: fc.constantFrom("GET", "GET", "POST", "DELETE", "PATCH"),
    path,
  });
