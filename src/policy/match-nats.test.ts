import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { NatsOperation } from "../core/target.ts";
import { coversNats, fillNats, subjectTokens, touchesNats } from "./match-nats.ts";
import { natsPattern } from "./policy.fake.ts";

const variables = { "job.project_id": "7", "job.ref_slug": "a.b" };

function operation(source: string): NatsOperation {
  const [verb = "", subject = "", queue] = source.split(" ");
  return { kind: "nats", verb: verb as NatsOperation["verb"], subject, ...(queue === undefined ? {} : { queue }) };
}

function judge(pattern: string, asked: string) {
  const filled = fillNats(natsPattern(pattern), variables);
  const tokens = subjectTokens(operation(asked).subject);
  if (tokens === undefined) return { covers: false, touches: false };
  return {
    covers: coversNats(filled, operation(asked), tokens),
    touches: touchesNats(filled, operation(asked), tokens),
  };
}

describe("a role's pattern covers", () => {
  test.each([
    ["pub a.b", "pub a.b"],
    ["pub a.*", "pub a.b"],
    ["pub a.>", "pub a.b.c"],
    ["pub build.${job.project_id}.x", "pub build.7.x"],
    ["sub a.*", "sub a.*"],
    ["sub a.>", "sub a.*.>"],
    ["sub a.> workers", "sub a.b workers"],
    ["sub a.>", "sub a.b workers"],
    ["req svc.echo", "req svc.echo"],
  ])("%s: %s", (pattern, asked) => {
    expect(judge(pattern, asked)).toEqual({ covers: true, touches: true });
  });
});

describe("a role's pattern does not cover", () => {
  test.each([
    ["pub a.b", "sub a.b"],
    ["pub a.b", "req a.b"],
    ["req a.b", "pub a.b"],
    ["pub a.b", "pub a"],
    ["pub a.b", "pub a.b.c"],
    ["pub a.>", "pub a"],
    ["pub a.*", "pub a.*"],
    ["pub a.>", "pub a.>"],
    ["pub >", "pub >"],
    ["sub a.*", "sub a.>"],
    ["sub a.b", "sub a.*"],
    ["sub a.b", "sub >"],
    ["sub a.> workers", "sub a.b"],
    ["sub a.> workers", "sub a.b others"],
    ["pub build.${job.project_id}", "pub build.8"],
    ["pub a.b", "pub a.B"],
  ])("%s: %s", (pattern, asked) => {
    expect(judge(pattern, asked).covers).toBe(false);
  });
});

describe("a deny's pattern touches", () => {
  test.each([
    ["sub secret.>", "sub >"],
    ["sub secret.x", "sub *.x"],
    ["sub secret.x", "sub secret.>"],
    ["pub a.b", "req a.b"],
    ["sub a workers", "sub a"],
  ])("%s: %s", (pattern, asked) => {
    expect(judge(pattern, asked).touches).toBe(true);
  });

  test.each([
    ["sub secret.>", "sub open.>"],
    ["sub secret.x", "sub secret"],
    ["req a.b", "pub a.b"],
    ["pub a.b", "pub a.c"],
  ])("and not %s: %s", (pattern, asked) => {
    expect(judge(pattern, asked).touches).toBe(false);
  });
});

test.each(["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB x", "a.>.b", "a\0", "a".repeat(2000)])(
  "%j is no subject",
  (subject) => {
    expect(subjectTokens(subject)).toBeUndefined();
  },
);

test("a template that cannot be filled stands as a wildcard, and is named", () => {
  const filled = fillNats(natsPattern("pub build.${job.ref_slug}"), variables);
  expect(filled).toMatchObject({ tokens: ["build", "*"], unfilled: "${job.ref_slug}" });
});

const token = fc.constantFrom("a", "b", "*");
const subject = fc
  .tuple(fc.array(token, { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([tokens, rest]) => (rest ? [...tokens, ">"] : tokens).join("."));
/** Every subject of up to five tokens out of two letters: a small world in which both questions can be answered by looking. */
const grow = (text: string): string[] =>
  text.length > 8 ? [text] : [text, ...["a", "b"].flatMap((next) => grow(`${text}.${next}`))];
const world = ["a", "b"].flatMap(grow);

test("covering is being a subset, and touching is sharing a subject", () => {
  fc.assert(
    fc.property(subject, subject, (wide, asked) => {
      const named = (pattern: string) => world.filter((one) => judge(`pub ${pattern}`, `pub ${one}`).covers);
      const [all, some] = [new Set(named(wide)), named(asked)];
      const { covers, touches } = judge(`sub ${wide}`, `sub ${asked}`);
      if (covers) expect(some.every((one) => all.has(one))).toBe(true);
      expect(touches).toBe(some.some((one) => all.has(one)));
    }),
  );
});
