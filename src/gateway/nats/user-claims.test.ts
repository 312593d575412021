import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { directLifeMs, type NatsUser, natsUserClaims } from "./user-claims.ts";

const now = Date.parse("2026-11-24T14:00:00Z");
const inbox = "_INBOX_0123456789abcdef";
const noRights: NatsUser["rights"] = { pub: [], req: [], sub: [], pull: [], observed: false };
const user: NatsUser = {
  name: "gitlab:gitlab.acme.example:7:job:12",
  userNkey: "UAUVRYGXSPWPKNU5UCU7WCJC47Z66M3I7Y7EAUDKMY7T4W2BC63GODUW",
  rights: noRights,
  inbox,
  expiresAt: now + 3_600_999,
  mode: "gateway",
  limits: { payload: 1_048_576, subscriptions: 1_000 },
};
const direct = { ...user, mode: "direct" as const };
const claims = (rights: Partial<NatsUser["rights"]>, more: Partial<NatsUser> = {}) =>
  natsUserClaims({ ...user, ...more, rights: { ...noRights, ...rights } }, now);

/** As nats-server matches a literal subject. */
function matches(pattern: string, subject: string): boolean {
  const [want, have] = [pattern.split("."), subject.split(".")];
  for (const [at, token] of want.entries()) {
    if (token === ">") return have.length > at;
    if (have[at] === undefined || (token !== "*" && token !== have[at])) return false;
  }
  return want.length === have.length;
}

/** As nats-server decides: no list is everything, and a denial wins. */
function allowed(lists: { readonly allow?: readonly string[]; readonly deny?: readonly string[] }, subject: string) {
  const within =
    lists.allow === undefined || lists.allow.length === 0 || lists.allow.some((one) => matches(one, subject));
  return within && !(lists.deny ?? []).some((one) => matches(one, subject));
}

test("behind the gateway: the job's name, the session's hard end in whole seconds, and the gateway required", () => {
  expect(natsUserClaims(user, now)).toEqual({
    sub: user.userNkey,
    name: user.name,
    exp: now / 1000 + 3_600,
    nats: {
      type: "user",
      pub: { deny: [">"] },
      sub: { allow: [`${inbox}.>`] },
      resp: { max: 1, ttl: 120_000_000_000 },
      subs: 1_000,
      data: -1,
      payload: 1_048_576,
      allowed_connection_types: ["STANDARD"],
      proxy_required: true,
    },
  });
});

test("in direct mode: fifteen minutes at most, no proxy, no answers without subscriptions", () => {
  const { exp, nats } = natsUserClaims(direct, now);
  expect(exp).toBe((now + directLifeMs) / 1000);
  expect(nats).not.toHaveProperty("proxy_required");
  expect(nats).not.toHaveProperty("resp");
  expect(natsUserClaims({ ...direct, expiresAt: now + 61_500 }, now).exp).toBe(now / 1000 + 61);
  expect(claims({ sub: [{ subject: "a" }] }, direct).nats.resp).toEqual({ max: 1, ttl: 120_000_000_000 });
});

test("all rights, as the server reads them", () => {
  const { pub, sub } = claims({
    pub: ["build.status.7.>"],
    req: ["svc.echo"],
    sub: [{ subject: "deploy.events.*", queue: "workers" }],
    pull: [{ stream: "ORDERS", consumer: "worker" }],
  }).nats;
  expect(pub).toEqual({
    allow: [
      "$JS.ACK.*.*.ORDERS.worker.*.*.*.*.*",
      "$JS.ACK.*.*.ORDERS.worker.*.*.*.*.*.*",
      "$JS.ACK.ORDERS.worker.*.*.*.*.*",
      "$JS.API.CONSUMER.INFO.ORDERS.worker",
      "$JS.API.CONSUMER.MSG.NEXT.ORDERS.worker",
      "$JS.API.INFO",
      "build.status.7.>",
      "svc.echo",
    ],
  });
  expect(sub).toEqual({ allow: [`${inbox}.>`, "deploy.events.* workers"] });
});

test("a consumer's acknowledgements are no other consumer's, whatever it is called", () => {
  const { pub } = claims({ pull: [{ stream: "1", consumer: "2" }] }).nats;
  expect(allowed(pub, "$JS.ACK.1.2.1.10.10.1795280072.0")).toBe(true);
  expect(allowed(pub, "$JS.ACK._.hash.1.2.1.10.10.1795280072.0")).toBe(true);
  expect(allowed(pub, "$JS.ACK._.hash.1.2.1.10.10.1795280072.0.rnd")).toBe(true);
  expect(allowed(pub, "$JS.ACK.OTHER.worker.1.2.10.1795280072.0")).toBe(false);
  expect(allowed(pub, "$JS.ACK._.hash.OTHER.worker.1.2.10.1795280072.0")).toBe(false);
  expect(allowed(pub, "$JS.API.CONSUMER.MSG.NEXT.1.3")).toBe(false);
  expect(allowed(pub, "$JS.API.CONSUMER.CREATE.1.2")).toBe(false);
});

test("beside a right for one queue group, a right without keeps covering all groups", () => {
  expect(claims({ sub: [{ subject: "a" }] }).nats.sub.allow).toEqual([`${inbox}.>`, "a"]);
  expect(claims({ sub: [{ subject: "a" }, { subject: "b", queue: "q" }] }).nats.sub.allow).toEqual([
    `${inbox}.>`,
    "a",
    "a >",
    "b q",
  ]);
});

test("denials of this moment, in direct mode", () => {
  const deny = { pub: ["a.secret"], sub: ["b.secret"], pull: [{ stream: "S", consumer: "C" }] };
  const { pub, sub } = claims(
    { pub: ["a.*"], sub: [{ subject: "b.*" }], pull: [{ stream: "S", consumer: "*" }], deny },
    direct,
  ).nats;
  expect([allowed(pub, "a.open"), allowed(pub, "a.secret"), allowed(sub, "b.secret")]).toEqual([true, false, false]);
  expect(allowed(pub, "$JS.API.CONSUMER.MSG.NEXT.S.D")).toBe(true);
  expect(allowed(pub, "$JS.API.CONSUMER.MSG.NEXT.S.C")).toBe(false);
  expect(allowed(pub, "$JS.ACK.S.C.1.1.1.1.0")).toBe(false);
});

describe("an observed target", () => {
  const observed = { observed: true, pub: ["a"], pull: [{ stream: "S", consumer: "C" }] };

  test("is open behind the gateway, but for what is nobody's", () => {
    const { pub, sub } = claims(observed).nats;
    for (const subject of ["a", "b.c", "$KV.x.y", "$JS.API.CONSUMER.MSG.NEXT.S.C", "$JS.ACK.S.C.1.1.1.1.0"])
      expect(allowed(pub, subject), subject).toBe(true);
    for (const subject of ["b.c", `${inbox}.x`]) expect(allowed(sub, subject), subject).toBe(true);
    const api = [
      "STREAM.DELETE.S",
      "CONSUMER.CREATE.S.x",
      "CONSUMER.DURABLE.CREATE.S.x",
      "DIRECT.GET.S",
      "STREAM.MSG.GET.S",
    ];
    for (const subject of [
      ...api.map((one) => `$JS.API.${one}`),
      "$SYS.REQ.USER.AUTH",
      "_INBOX.x.1",
      "_R_.x",
      "wayleave.x",
    ])
      expect(allowed(pub, subject), subject).toBe(false);
    for (const subject of ["$SYS.ACCOUNT.x", "$JS.EVENT.x", "_INBOX.x.1", "_R_.x"])
      expect(allowed(sub, subject), subject).toBe(false);
  });

  test("without pulls nothing of JetStream's API is open", () => {
    expect(allowed(claims({ observed: true }).nats.pub, "$JS.API.INFO")).toBe(false);
  });

  test("is what policy says in direct mode, where nobody observes", () => {
    expect(claims({ observed: true, pub: ["a"] }, direct).nats.pub).toEqual({ allow: ["a"] });
    expect(claims({ observed: true }, direct).nats.pub).toEqual({ deny: [">"] });
  });
});

const reserved = [
  "$SYS.>",
  "$JS.API.>",
  "$JS.API.CONSUMER.CREATE.S",
  "_INBOX.>",
  "_INBOX_other.>",
  "_R_.>",
  ">",
  "*.x",
  "wayleave.x",
];
test.each(reserved)("a right to %s is no right, for that is not policy's to give", (subject) => {
  for (const mode of ["gateway", "direct"] as const) {
    const { nats } = claims({ pub: [subject], req: [subject], sub: [{ subject }] }, { mode });
    expect([nats.pub, nats.sub]).toEqual([{ deny: [">"] }, { allow: [`${inbox}.>`] }]);
  }
});

test.each<{ what: string; more: Partial<NatsUser> }>([
  { what: "no name", more: { name: "" } },
  { what: "a name without an issuer", more: { name: "boss" } },
  { what: "a name with a space", more: { name: "gitlab:a b" } },
  { what: "a name with a line end", more: { name: "gitlab:a\n" } },
  { what: "a name of letters beyond ASCII", more: { name: "gitlab:ä" } },
  { what: "everybody's inbox", more: { inbox: "_INBOX" } },
  { what: "a wildcard inbox", more: { inbox: "_INBOX_0123456789abcde*" } },
  { what: "an inbox of several tokens", more: { inbox: "_INBOX_0123456789abcdef.x" } },
  { what: "no inbox", more: { inbox: "" } },
  { what: "no time left", more: { expiresAt: now } },
  { what: "less than a second left", more: { expiresAt: now + 999 } },
  { what: "an end that is no number", more: { expiresAt: Number.NaN } },
  { what: "unlimited payload", more: { limits: { payload: -1, subscriptions: 1 } } },
  { what: "unlimited subscriptions", more: { limits: { payload: 1, subscriptions: 0 } } },
  { what: "a subject with a space", more: { rights: { ...noRights, pub: ["a b"] } } },
  { what: "an empty subject", more: { rights: { ...noRights, pub: [""] } } },
  { what: "an empty token", more: { rights: { ...noRights, req: ["a..b"] } } },
  { what: "a wildcard within a token", more: { rights: { ...noRights, sub: [{ subject: "a.b*" }] } } },
  { what: "> in the middle", more: { rights: { ...noRights, sub: [{ subject: "a.>.b" }] } } },
  { what: "a queue group of two words", more: { rights: { ...noRights, sub: [{ subject: "a", queue: "q r" }] } } },
  { what: "a queue group of all", more: { rights: { ...noRights, sub: [{ subject: "a", queue: ">" }] } } },
  { what: "an empty queue group", more: { rights: { ...noRights, sub: [{ subject: "a", queue: "" }] } } },
  { what: "a stream of two tokens", more: { rights: { ...noRights, pull: [{ stream: "a.b", consumer: "c" }] } } },
  { what: "a consumer that is everything", more: { rights: { ...noRights, pull: [{ stream: "a", consumer: ">" }] } } },
  { what: "a denial that is no pattern", more: { rights: { ...noRights, deny: { pub: ["a b"], sub: [], pull: [] } } } },
])("nothing is made of $what", ({ more }) => {
  for (const mode of ["gateway", "direct"] as const)
    expect(() => natsUserClaims({ ...user, ...more, mode }, now)).toThrow(TypeError);
});

const token = fc.stringMatching(/^[a-z0-9_$-]{1,6}$/);
const pattern = fc
  .tuple(fc.array(fc.oneof(token, fc.constant("*")), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([tokens, rest]) => [...tokens, ...(rest ? [">"] : [])].join("."));
const rights = fc.record({
  pub: fc.array(pattern, { maxLength: 4 }),
  req: fc.array(pattern, { maxLength: 2 }),
  sub: fc.array(fc.record({ subject: pattern }), { maxLength: 4 }),
  pull: fc.array(fc.record({ stream: token, consumer: token }), { maxLength: 2 }),
});

test("law: what is allowed is a right or a pull; with no rights nothing is", () => {
  fc.assert(
    fc.property(rights, fc.array(token, { minLength: 1, maxLength: 5 }), (given, tokens) => {
      const subject = tokens.join(".");
      const { nats } = claims(given);
      const says = [...given.pub, ...given.req].some((one) => matches(one, subject));
      if (allowed(nats.pub, subject)) expect(says || subject.startsWith("$JS.")).toBe(true);
      if (allowed(nats.sub, subject)) expect(given.sub.some((one) => matches(one.subject, subject))).toBe(true);
      expect(nats.pub.allow ?? nats.pub.deny).not.toEqual([]);
      expect(nats.sub.allow?.length).toBeGreaterThan(0);
    }),
    { numRuns: 1_000 },
  );
});

test("law: the order of rights changes nothing", () => {
  fc.assert(
    fc.property(rights, (given) => {
      const turned = {
        pub: given.pub.toReversed(),
        req: given.req.toReversed(),
        sub: given.sub.toReversed(),
        pull: given.pull.toReversed(),
      };
      expect(claims(turned)).toEqual(claims(given));
    }),
  );
});
