import fc from "fast-check";
import type { Facts } from "../src/core/fact.ts";
import type { JobIdentity } from "../src/core/identity.ts";
import type { PolicyModel } from "../src/policy/model.ts";
import { deny, facts, job, policyModel, role, selector, target } from "../src/policy/policy.fake.ts";

/** Generated policies and requests for `envoy-native.test.ts`. */

export const targetNames = ["billing", "review", "soft"];

const segment = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom("a", "a", "v1", "*", ":id", "a*", "*20", "**", "**", "é") },
  { weight: 1, arbitrary: fc.constant("${job.project_id}") },
);
const pathPattern = fc
  .array(segment, { maxLength: 2 })
  .filter((parts) => parts.filter((part) => part === "**").length <= 2)
  .map((parts) => `/${parts.join("/")}`);
const operation = fc
  .tuple(fc.constantFrom("GET", "GET", "POST", "*"), pathPattern, fc.constantFrom("", "", "", " stream"))
  .map(([method, path, stream]) => `${method} ${path}${stream}`);
const route = fc
  .tuple(fc.constantFrom("GET", "*"), pathPattern)
  .map(([method, path]) => `${method} ${path}`)
  .filter((text) => !text.includes("${"));
const few = <T>(arbitrary: fc.Arbitrary<T>, maxLength: number) =>
  fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.array(arbitrary, { maxLength }) });

const targetModel = (name: string) =>
  fc
    .record({
      mode: fc.constant(name === "soft" ? ("observe" as const) : ("enforce" as const)),
      unidentified: few(route, 2),
      observe: few(route, 2),
      enforce: few(route, 2),
      hosts: fc.constant(
        name === "review" ? ["review.internal", "${environment.slug}.review.internal"] : [`${name}.internal`],
      ),
    })
    .map((parts) => target(name, "http", parts));

const allow = fc.dictionary(fc.constantFrom(...targetNames), fc.array(operation, { minLength: 1, maxLength: 3 }), {
  minKeys: 1,
  maxKeys: 2,
});

const who = fc.constantFrom(
  selector({ project: "acme/shop" }),
  selector({ group: "acme" }),
  selector({ project: "acme/shop", ref: "main" }),
  selector({ project: "acme/other" }),
  selector({ project: "acme/shop" }, { kind: "agent" }),
);
const condition = fc.oneof(
  { weight: 7, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.constantFrom("change.merged", 'job.ref == "main"', 'request.method == "GET"') },
);
const limit = fc.constantFrom(undefined, undefined, undefined, undefined, undefined, undefined, undefined, {
  max: 1_000_000_000,
  windowMs: 60_000,
  per: "session" as const,
  scope: "global" as const,
});

const roles = fc
  .array(
    fc.record({
      allow,
      for: fc.array(who, { minLength: 1, maxLength: 2 }),
      when: condition,
      limit,
      mode: fc.constantFrom("enforce" as const, "enforce" as const, "observe" as const),
    }),
    { minLength: 3, maxLength: 7 },
  )
  .map((all) =>
    all.map(({ allow: operations, limit: counted, ...parts }, at) =>
      role(`role-${at}`, operations, { ...parts, ...(counted === undefined ? {} : { limit: counted }) }),
    ),
  );

const denied = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.dictionary(fc.constantFrom(...targetNames), fc.array(operation, { minLength: 1, maxLength: 2 }), {
      minKeys: 1,
      maxKeys: 2,
    }),
  },
  { weight: 1, arbitrary: fc.constant(undefined) },
);
const denies = fc
  .array(
    fc.record({
      operations: denied,
      when: condition,
      for: fc.array(fc.oneof(who, fc.constant(selector({ ref: "main" }, { anyIssuer: true, fork: true }))), {
        minLength: 1,
        maxLength: 1,
      }),
    }),
    { maxLength: 3 },
  )
  .map((all) =>
    all.map(({ operations, ...parts }, at) =>
      deny(`deny-${at}`, operations === undefined ? { ...parts, targets: ["billing"] } : { ...parts, operations }),
    ),
  );

export const policy: fc.Arbitrary<PolicyModel> = fc
  .record({
    targets: fc.tuple(...targetNames.map(targetModel)),
    roles,
    deny: denies,
    version: fc.constantFrom("0123456789ab", "ba9876543210"),
  })
  .map(policyModel);

export interface CaseSession {
  readonly id: string;
  readonly identity: JobIdentity;
  readonly facts: Facts;
}

const attributes = (project: string, ref: string) => ({
  project: [project],
  project_id: ["1"],
  group: ["acme"],
  ref,
  source: "push",
});

/** Who asks: a job, one on a branch, an agent, a job of another project, and one that was ended. */
export const sessions: readonly CaseSession[] = [
  { identity: job({ attributes: attributes("acme/shop", "main") }), facts: facts({ "change.merged": true }) },
  {
    identity: job({ ref: "feature/x", attributes: attributes("acme/shop", "feature/x") }),
    facts: facts({ "change.merged": false }),
  },
  { identity: job({ kind: "agent", attributes: attributes("acme/shop", "main") }), facts: {} },
  {
    identity: job({
      project: { id: "2", path: "acme/other" },
      attributes: attributes("acme/other", "main"),
      variables: {},
    }),
    facts: {},
  },
  { identity: job({ attributes: attributes("acme/shop", "main") }), facts: {} },
].map((one, at) => ({ id: `ses_000000000000000${at}`, ...one }));
export const endedSession = "ses_0000000000000004";

/** What is presented. */
export const credentials = [
  ...(["full", "full", "full", "full", "full", "narrowed-target", "narrowed-role", "other-policy"] as const),
  ...([
    "expired",
    "other-key",
    "bound",
    "proven",
    "bearer-as-dpop",
    "revoked",
    "none",
    "none",
    "garbage",
    "lower-case",
    "doubled",
    "basic",
  ] as const),
] as const;
export type Credential = (typeof credentials)[number];

export interface CaseRequest {
  readonly session: number;
  readonly credential: Credential;
  readonly host: string;
  readonly target: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

const piece = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom("a", "a", "v1", "b", "ab", "1042", "x20", "%C3%A9", "%c3%a9", "b%20") },
  { weight: 1, arbitrary: fc.constantFrom("..", ".", "", "%2F", "%2e", "a;b", "%C3", "%61", "~(a)") },
);
const path = fc
  .tuple(fc.array(piece, { maxLength: 4 }), fc.constantFrom("", "", "", "/", "?x=/../y"))
  .map(([parts, end]) => `/${parts.join("/")}${end}`);

const host = fc.constantFrom(
  ...targetNames.flatMap((name) => Array<string>(8).fill(`${name}.internal`)),
  "production.review.internal",
  "production.review.internal",
  "other.review.internal",
  "BILLING.internal:8443",
  "billing.internal:80@x",
);

export const request: fc.Arbitrary<CaseRequest> = fc
  .record({
    session: fc.nat(sessions.length - 1),
    credential: fc.constantFrom(...credentials),
    host,
    method: fc.constantFrom("GET", "GET", "GET", "POST", "DELETE", "PURGE"),
    path,
    headers: fc.constantFrom<Readonly<Record<string, string>>[]>(
      {},
      {},
      {},
      {},
      { "content-type": "application/grpc+proto" },
      { "x-wayleave-subject": "spoofed" },
    ),
  })
  .map((made) => ({
    ...made,
    target: targetNames.find((name) => made.host.toLowerCase().includes(name)) ?? "billing",
  }));
