import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { natsMessageSubject, natsSubjectMatcher, parseNatsMessage } from "./nats-message.ts";

describe("a message's text", () => {
  test.each([
    {
      text: "publish-status build.status.7 - 0 128",
      message: { rule: "publish-status", subject: "build.status.7", headers: 0, payload: 128 },
    },
    {
      text: "ask svc.echo _INBOX_a.b 93 0",
      message: { rule: "ask", subject: "svc.echo", reply: "_INBOX_a.b", headers: 93, payload: 0 },
    },
    { text: "build.x - 1 2", message: { rule: "", subject: "build.x", headers: 1, payload: 2 } },
    { text: "two words build.x - 1 2", message: { rule: "two words", subject: "build.x", headers: 1, payload: 2 } },
  ])("$text is read", ({ text, message }) => {
    expect(parseNatsMessage(text)).toEqual(message);
    expect(natsMessageSubject(text)).toBe(message.subject);
  });

  test.each(["", "build.x", "rule build.x - 1", "rule build.x - one 2", "rule build.x - -1 2", "rule build.x - 1 "])(
    "%j is no message",
    (text) => {
      expect(parseNatsMessage(text)).toBeUndefined();
    },
  );

  test("says its subject alone as it says it among all", () => {
    const word = fc.string({ minLength: 1 }).filter((text) => /^[^ ]+$/.test(text));
    fc.assert(
      fc.property(word, word, word, fc.nat(), fc.nat(), (...words) => {
        const text = words.join(" ");
        expect(natsMessageSubject(text)).toBe(parseNatsMessage(text)?.subject);
      }),
    );
  });

  test("that is none has no subject, and nothing throws", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(typeof natsMessageSubject(text)).toBe("string");
      }),
    );
  });
});

describe("subjects", () => {
  test.each([
    { pattern: "build.status.7.>", yes: ["build.status.7.a", "build.status.7.a.b"], no: ["build.status.7"] },
    { pattern: "build.*.7", yes: ["build.x.7"], no: ["build.7", "build.x.y.7", "build.x.77", "xbuild.x.7"] },
    { pattern: ">", yes: ["a", "a.b"], no: [] },
    { pattern: "a.b", yes: ["a.b"], no: ["a.b.c", "a", "A.b"] },
    { pattern: "*", yes: ["a", ">"], no: ["a.b"] },
    { pattern: "a.>.b", yes: ["a.>.b"], no: ["a.x.b"] },
    { pattern: "a*", yes: ["a*"], no: ["ab"] },
  ])("of $pattern", ({ pattern, yes, no }) => {
    const matches = natsSubjectMatcher(pattern);
    expect(yes.filter((subject) => !matches(subject))).toEqual([]);
    expect(no.filter(matches)).toEqual([]);
  });
});
