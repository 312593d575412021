import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { NatsOperation } from "../core/target.ts";
import { askedTokens, coversTokens, fillNats, sharesTokens, subjectTokens } from "./match-nats.ts";
import { addSubject, findCovering, findSharing, natsTrie } from "./nats-trie.ts";
import { natsPattern } from "./policy.fake.ts";
import { reservedToken } from "./reserved-subject.ts";

const split = (subject: string) => subject.split(".");

describe("a pattern covers", () => {
  test.each([
    ["a.b", "a.b"],
    ["a.*", "a.b"],
    ["a.>", "a.b.c"],
    ["a.*", "a.*"],
    ["a.>", "a.*.>"],
    ["a.>", "a.>"],
    [">", "a.>"],
    ["*.*", "a.*"],
  ])("%s: %s", (pattern, asked) => {
    expect(coversTokens(split(pattern), split(asked))).toBe(true);
    expect(sharesTokens(split(pattern), split(asked))).toBe(true);
  });

  test.each([
    ["a.b", "a"],
    ["a.b", "a.b.c"],
    ["a.>", "a"],
    ["a.*", "a.>"],
    ["a.b", "a.*"],
    ["a.b", ">"],
    ["a.b", "a.B"],
    ["*", ">"],
  ])("and not %s: %s", (pattern, asked) => {
    expect(coversTokens(split(pattern), split(asked))).toBe(false);
  });
});

describe("a pattern shares a subject with", () => {
  test.each([
    ["secret.>", ">"],
    ["secret.x", "*.x"],
    ["secret.x", "secret.>"],
    ["*.b", "a.*"],
  ])("%s: %s", (pattern, asked) => {
    expect(sharesTokens(split(pattern), split(asked))).toBe(true);
    expect(sharesTokens(split(asked), split(pattern))).toBe(true);
  });

  test.each([
    ["secret.>", "open.>"],
    ["secret.x", "secret"],
    ["secret.>", "secret"],
    ["a.b", "a.c"],
  ])("and not %s: %s", (pattern, asked) => {
    expect(sharesTokens(split(pattern), split(asked))).toBe(false);
    expect(sharesTokens(split(asked), split(pattern))).toBe(false);
  });
});

test.each([
  ...["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB x", "a.>.b", ">.a", "a\0", "a\x7f", "a\x85"],
  ...["a\u2028b", "a\u00a0b", "a".repeat(2000)],
])("%j is no subject", (subject) => {
  expect(subjectTokens(subject)).toBeUndefined();
});

test.each(["a", "a.b", "a.*.>", ">", "grüße.x", "a*b", "$JS.API.INFO"])("%j is a subject", (subject) => {
  expect(subjectTokens(subject)).toEqual(split(subject));
});

describe("nobody may be asked about", () => {
  const ask = (source: string) => {
    const [verb, subject = ""] = source.split(" ");
    return askedTokens({ kind: "nats", verb: verb as NatsOperation["verb"], subject });
  };

  test.each([
    ...["pub a.*", "req a.>", "pub >", "req *", "pull ORDERS.*", "pull *.worker", "pull ORDERS.>"],
    ...["pull ORDERS", "pull ORDERS.worker.x", "sub >", "sub *", "sub *.x", "pub $SYS.REQ.USER.AUTH"],
    ...["req $JS.API.STREAM.DELETE.ORDERS", "sub $JS.ACK.>", "sub _INBOX.>", "pub _INBOX_0123456789abcdef.1"],
    ...["sub _INBOX_0123456789abcdef.>", "pub _R_.x", "pub _GR_.a.b", "pub Wayleave.x", "pub $KVX.a", "pub a..b"],
  ])("%s", (source) => {
    expect(ask(source)).toBeUndefined();
  });

  test.each(["pub a.b", "sub a.>", "sub a.*.b", "req $KV.settings.a", "pub $O.files.C.x", "pull ORDERS.worker"])(
    "and %s may be",
    (source) => {
      expect(ask(source)).toEqual(split(source.split(" ")[1] ?? ""));
    },
  );

  test.each([
    ...["", "a", "kv", "KV", "_", "_x", "_inbox", "_r_", "inbox", "way", "W", "$KV", "$O", "a$", "a*", "**", ">>"],
  ])("%j is a first word like others", (word) => {
    expect(reservedToken(word)).toBeUndefined();
  });
});

describe("a template", () => {
  const variables = { "job.project_id": "7", "job.ref_slug": "a.b", "environment.name": "_INBOX_0123456789abcdef" };

  test("is filled with one token", () => {
    expect(fillNats(natsPattern("sub build.${job.project_id}.> q"), variables)).toEqual({
      verb: "sub",
      tokens: ["build", "7", ">"],
      queue: "q",
      unfilled: undefined,
    });
  });

  test("that cannot be filled stands as a wildcard, and is named", () => {
    const filled = fillNats(natsPattern("pub build.${job.ref_slug}"), variables);
    expect(filled).toMatchObject({ tokens: ["build", "*"], unfilled: "${job.ref_slug}" });
  });

  test.each(["_INBOX_0123456789abcdef", "_R_", "wayleave"])(
    "never begins a subject with what nobody may name: %s",
    (name) => {
      const pattern = natsPattern("sub ${environment.name}.>");
      const filled = fillNats(pattern, { "environment.name": name });
      expect(filled).toMatchObject({ tokens: ["*", ">"], unfilled: "${environment.name}" });
    },
  );

  test("may stand further on whatever it says, and in the name of a stream", () => {
    expect(fillNats(natsPattern("sub env.${environment.name}"), variables).unfilled).toBeUndefined();
    expect(fillNats(natsPattern("pull ${environment.name}.worker"), variables).unfilled).toBeUndefined();
  });
});

const token = fc.constantFrom("a", "b", "*");
const subject = fc
  .tuple(fc.array(token, { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([tokens, rest]) => (rest ? [...tokens, ">"] : tokens));
/** Every subject of up to five tokens out of two letters: a small world in which both questions can be answered by looking. */
const grow = (tokens: readonly string[]): (readonly string[])[] =>
  tokens.length > 4 ? [tokens] : [tokens, ...["a", "b"].flatMap((next) => grow([...tokens, next]))];
const world = ["a", "b"].flatMap((first) => grow([first]));

test("covering is being a subset, and sharing is having a subject in common", () => {
  fc.assert(
    fc.property(subject, subject, (wide, asked) => {
      const named = (pattern: readonly string[]) => world.filter((one) => coversTokens(pattern, one));
      const [all, some] = [new Set(named(wide)), named(asked)];
      if (coversTokens(wide, asked)) expect(some.every((one) => all.has(one))).toBe(true);
      expect(sharesTokens(wide, asked)).toBe(some.some((one) => all.has(one)));
    }),
  );
});

test("the trie finds exactly what looking at each pattern finds", () => {
  fc.assert(
    fc.property(fc.array(subject, { maxLength: 12 }), subject, (patterns, asked) => {
      const trie = natsTrie<number>();
      for (const [at, pattern] of patterns.entries()) addSubject(trie, pattern, at);
      const byLooking = (relation: typeof coversTokens) =>
        patterns.flatMap((pattern, at) => (relation(pattern, asked) ? [at] : []));
      const sorted = (found: readonly number[]) => found.toSorted((a, b) => a - b);
      expect(sorted(findCovering(trie, asked))).toEqual(byLooking(coversTokens));
      expect(sorted(findSharing(trie, asked))).toEqual(byLooking(sharesTokens));
    }),
    { numRuns: 1000 },
  );
});
