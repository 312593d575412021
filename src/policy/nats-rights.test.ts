import { describe, expect, test } from "vitest";
import type { Facts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import { compile } from "./compile.ts";
import type { DenyModel, RoleModel } from "./model.ts";
import { deny, facts, job, openedAt, policyModel, role, selector, target } from "./policy.fake.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const targets = [
  target("events", "nats", { settings: { account: "CI" } }),
  target("soft", "nats", { mode: "observe", settings: { account: "SOFT" } }),
  target("billing"),
];

interface Ask {
  readonly roles?: readonly RoleModel[];
  readonly denies?: readonly DenyModel[];
  readonly who?: JobIdentity;
  readonly known?: Facts;
  readonly at?: string;
}

const policyOf = ({ roles = [], denies = [] }: Ask) =>
  compile(policyModel({ targets, roles, deny: denies }), fakeVocabulary);
const rights = (ask: Ask) => policyOf(ask).natsRights(ask.who ?? job(), ask.at ?? "events");
const rightsNow = (ask: Ask) =>
  policyOf(ask).natsRightsNow(ask.who ?? job(), ask.at ?? "events", ask.known ?? {}, openedAt + 1000);
const events = (...operations: readonly string[]) => ({ events: operations });
const nothing = { pub: [], req: [], sub: [], pull: [], roles: [], observed: false };

describe("the most a job can be allowed", () => {
  test("is what all its roles say, filled, sorted, each once, without what another covers", () => {
    const roles = [
      role("b", events("pub z.x", "sub a.> workers", "req svc.echo", "pub z.*", "pull B.two")),
      role(
        "a",
        events("pub z.x", "sub a.b workers", "sub a.b", "pub build.${job.project_id}.>", "pull A.*", "pull A.one"),
      ),
    ];
    expect(rights({ roles })).toEqual({
      pub: ["build.1042.>", "z.*"],
      req: ["svc.echo"],
      sub: [{ subject: "a.>", queue: "workers" }, { subject: "a.b" }],
      pull: [
        { stream: "A", consumer: "*" },
        { stream: "B", consumer: "two" },
      ],
      roles: ["a", "b"],
      observed: false,
    });
  });

  test("asks no condition, no limit and no deny", () => {
    const roles = [
      role("a", events("pub a"), { when: "change.merged" }),
      role("b", events("pub b"), { limit: { max: 1, windowMs: 1000, per: "role", scope: "global" } }),
    ];
    expect(rights({ roles, denies: [deny("d")] })).toMatchObject({ pub: ["a", "b"], roles: ["a", "b"] });
  });

  test("has nothing of a template that cannot be filled, and of a role that says nothing else", () => {
    const roles = [role("a", events("pub x.${job.ref_slug}")), role("b", events("sub b", "sub ${job.ref_slug}.x"))];
    expect(rights({ roles })).toEqual({ ...nothing, sub: [{ subject: "b" }], roles: ["b"] });
  });

  test("is a wildcard there where the role is observed: a gateway lets it through", () => {
    const roles = [role("a", events("pub x.${job.ref_slug}.y"), { mode: "observe" })];
    expect(rights({ roles })).toMatchObject({ pub: ["x.*.y"], roles: ["a"] });
  });

  test("never begins with what nobody may name, whatever the job calls itself", () => {
    const roles = [role("a", events("sub ${environment.name}.>", "pub ${environment.name}.x"))];
    for (const name of ["_INBOX_0123456789abcdef", "_R_", "_GR_", "Wayleave"]) {
      expect(rights({ roles, who: job({ variables: { "environment.name": name } }) })).toEqual(nothing);
    }
    expect(rights({ roles, who: job({ variables: { "environment.name": "prod" } }) }).pub).toEqual(["prod.x"]);
  });

  test("says where the target is observed", () => {
    expect(rights({ roles: [role("a", { soft: ["pub a"] })], at: "soft" })).toMatchObject({
      pub: ["a"],
      observed: true,
    });
  });

  test.each([
    ["a job that no role is for", { roles: [role("a", events("pub a"), { for: [selector({ project: "x/y" })] })] }],
    ["a fork", { roles: [role("a", events("pub a"))], who: job({ fork: "unknown" }) }],
    ["roles of other targets", { roles: [role("a", { billing: ["GET /"] })] }],
    ["a target of another kind", { roles: [role("a", { billing: ["GET /"] })], at: "billing" }],
    ["a target that is not there", { roles: [role("a", events("pub a"))], at: "toString" }],
  ])("is nothing for %s", (_, ask) => {
    expect(rights(ask)).toEqual(nothing);
    expect(rightsNow(ask)).toEqual({ ...nothing, deny: { pub: [], sub: [], pull: [] }, withheld: [] });
  });

  test("is nothing where the project's path is pinned to another id", () => {
    const model = policyModel({ targets, roles: [role("a", events("pub a"))], pins: { "gitlab/acme/shop": "7" } });
    expect(compile(model, fakeVocabulary).natsRights(job(), "events")).toEqual(nothing);
  });

  test("is found once for each job", () => {
    const policy = policyOf({ roles: [role("a", events("pub a"))] });
    const who = job();
    expect(policy.natsRights(who, "events")).toBe(policy.natsRights(who, "events"));
  });
});

describe("what a job may do now, where nobody decides its messages", () => {
  const merged = facts({ "change.merged": true });

  test.each([
    ["a true condition", "change.merged", merged],
    ["a true condition about the job", 'job.ref == "main"', {}],
  ])("is what a role with %s says", (_, when, known) => {
    expect(rightsNow({ roles: [role("a", events("pub a"), { when })], known })).toMatchObject({
      pub: ["a"],
      roles: ["a"],
      withheld: [],
    });
  });

  test.each([
    ["fact_missing", "change.merged", "change.merged", {}],
    ["condition_failed", "change.merged", "change.merged", facts({ "change.merged": false })],
    ["condition_failed", "job.nope", "job.nope", merged],
    ["needs_request", 'request.subject == "a"', 'request.subject == "a"', merged],
    ["needs_request", 'change.merged || request.queue == "q"', 'change.merged || request.queue == "q"', merged],
  ])("is nothing of a role whose condition does not stand, and says why: %s", (reason, when, detail, known) => {
    const found = rightsNow({ roles: [role("a", events("pub a"), { when }), role("b", events("sub b"))], known });
    expect(found).toMatchObject({ pub: [], sub: [{ subject: "b" }], roles: ["b"] });
    expect(found.withheld).toEqual([{ role: "a", reason, detail }]);
  });

  test("is nothing of a role with a limit: nobody would count", () => {
    const limit = { max: 9, windowMs: 1000, per: "role", scope: "global" } as const;
    const found = rightsNow({ roles: [role("a", events("pub a"), { limit })] });
    expect(found).toMatchObject({ ...nothing, withheld: [{ role: "a", reason: "limited", detail: "" }] });
  });

  test("is nothing where a deny closes the target, and each role says which", () => {
    const found = rightsNow({
      roles: [role("a", events("pub a"))],
      denies: [deny("z"), deny("no", { targets: ["events"] })],
    });
    expect(found).toMatchObject({ ...nothing, withheld: [{ role: "a", reason: "denied", detail: "no" }] });
  });

  test("leaves out what a deny forbids altogether, and tells what it forbids of the rest", () => {
    const found = rightsNow({
      roles: [role("a", events("pub a.x", "pub b.>", "sub c.>", "pull S.*", "req a.x"))],
      denies: [
        deny("no-a", { operations: { events: ["req a.>"] } }),
        deny("no-b", {
          operations: { events: ["pub b.secret", "pub other.x", "sub c.*.x workers", "sub c.a.x", "pull S.admin"] },
        }),
      ],
    });
    expect(found).toMatchObject({
      pub: ["b.>"],
      req: [],
      sub: [{ subject: "c.>" }],
      pull: [{ stream: "S", consumer: "*" }],
      deny: { pub: ["b.secret"], sub: ["c.*.x"], pull: [{ stream: "S", consumer: "admin" }] },
      withheld: [{ role: "a", reason: "denied", detail: "no-a" }],
    });
  });

  test.each([
    ["is false", "change.merged", facts({ "change.merged": false }), ["a"]],
    ["is true", "change.merged", merged, []],
    ["cannot be known", "change.merged", {}, []],
    ["looks at each message", 'request.subject == "x"', {}, []],
    ["has no value", "job.nope", {}, []],
  ])("counts a deny unless its condition is plainly false: one that %s", (_, when, known, pub) => {
    const denies = [deny("no", { operations: { events: ["pub a"] }, when })];
    expect(rightsNow({ roles: [role("a", events("pub a"))], denies, known }).pub).toEqual(pub);
  });

  test("is denied to agents in their own roles alone", () => {
    const agent = selector({ project: "acme/shop" }, { kind: "agent" });
    const found = rightsNow({
      roles: [role("bot", events("pub a.x", "pub b.x"), { for: [agent] }), role("plain", events("pub a.>"))],
      denies: [
        deny("agents", {
          for: [selector({}, { anyIssuer: true, fork: true, kind: "agent" })],
          operations: { events: ["pub a.>"] },
        }),
      ],
    });
    expect(found).toMatchObject({ pub: ["a.>", "b.x"], roles: ["bot", "plain"], deny: { pub: [] } });
    expect(found.withheld).toEqual([{ role: "bot", reason: "denied", detail: "agents" }]);
  });

  test("has nothing of a template that cannot be filled, observed or not; a deny's stands for anything", () => {
    const found = rightsNow({
      roles: [role("a", events("pub x.${job.ref_slug}"), { mode: "observe" }), role("b", events("sub a.>"))],
      denies: [deny("no", { operations: { events: ["sub a.${job.ref_slug}.secret"] } })],
    });
    expect(found).toMatchObject({ pub: [], sub: [{ subject: "a.>" }], deny: { sub: ["a.*.secret"] } });
  });
});

describe("the account of a job", () => {
  const account = (text: string | undefined, variables: Readonly<Record<string, string>>, name = "events") => {
    const settings: Record<string, string> = text === undefined ? {} : { account: text };
    const model = policyModel({ targets: [target("events", "nats", { settings }), ...targets.slice(1)] });
    return compile(model, fakeVocabulary).natsAccount(name, job({ variables }));
  };

  test.each([
    ["CI", {}, "CI"],
    ["P_${job.project_id}", { "job.project_id": "1042" }, "P_1042"],
    ["${environment.name}", { "environment.name": "prod-1" }, "prod-1"],
    ["${job.project_id}-${environment.slug}_x", { "job.project_id": "7", "environment.slug": "a" }, "7-a_x"],
    [`P_\${job.id}`, { "job.id": "a".repeat(62) }, `P_${"a".repeat(62)}`],
  ])("%s with %j is %s", (text, variables, name) => {
    expect(account(text, variables)).toBe(name);
  });

  test.each([
    ["a variable the job does not have", "P_${job.project_id}", {}],
    ["an empty one", "P_${environment.name}", { "environment.name": "" }],
    ["a dot", "P_${environment.name}", { "environment.name": "a.b" }],
    ["a space", "P_${environment.name}", { "environment.name": "a b" }],
    ["a star", "P_${environment.name}", { "environment.name": "*" }],
    ["more than 64 characters", "P_${job.id}", { "job.id": "a".repeat(63) }],
    ["an account that policy names", "${environment.name}", { "environment.name": "SOFT" }],
    ["the system's account", "${environment.name}", { "environment.name": "SYS" }],
    ["the system's account in parts", "S${environment.name}", { "environment.name": "ys" }],
    ["Wayleave's account", "${environment.name}", { "environment.name": "wayleave" }],
  ])("is none where it would hold %s", (_, text, variables) => {
    expect(account(text, variables)).toBeUndefined();
  });

  test("is none at targets that are not NATS", () => {
    for (const name of ["billing", "nope", "constructor"]) expect(account("CI", {}, name)).toBeUndefined();
  });
});

test("a NATS target says how it keeps records, the careful way where it says nothing", () => {
  const said = (settings: Record<string, string>) =>
    compile(policyModel({ targets: [target("events", "nats", { settings })] }), fakeVocabulary).targets.get("events")
      ?.nats;
  expect(said({ account: "CI" })).toEqual({ account: "CI", records: "durable", deliveries: "counted" });
  expect(said({ account: "P_${job.id}", records: "fast", deliveries: "full" })).toEqual({
    account: "P_${job.id}",
    records: "fast",
    deliveries: "full",
  });
  expect(policyOf({}).targets.get("billing")).not.toHaveProperty("nats");
});
