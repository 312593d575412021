import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type KeepQuestion, keepSecondsAt, keepUntil, keptAt, refuseAnyKeep } from "./keep.ts";

const question: KeepQuestion = {
  keepMs: 60_000,
  allowed: true,
  limited: false,
  stream: false,
  behind: false,
  expiresAt: 300_000,
  hardEndAt: 900_000,
  now: 1000,
};

test("an allow may be repeated for as long as the target keeps", () => {
  expect(keepUntil(question)).toBe(61_000);
});

test.each<{ what: string; part: Partial<KeepQuestion>; until: number | undefined }>([
  { what: "a target that keeps nothing says nothing", part: { keepMs: 0 }, until: undefined },
  { what: "a refusal voids what was kept", part: { allowed: false }, until: 0 },
  { what: "what a limit counts", part: { limited: true }, until: 0 },
  { what: "a stream", part: { stream: true }, until: 0 },
  { what: "what is behind another gateway", part: { behind: true }, until: 0 },
  { what: "never past the token's end", part: { expiresAt: 5000 }, until: 5000 },
  { what: "never past the session's hard end", part: { hardEndAt: 4000 }, until: 4000 },
])("$what: $until", ({ part, until }) => {
  expect(keepUntil({ ...question, ...part })).toBe(until);
});

const ms = fc.integer({ min: 0, max: 1_000_000 });
const asked: fc.Arbitrary<KeepQuestion> = fc.record({
  keepMs: ms,
  allowed: fc.boolean(),
  limited: fc.boolean(),
  stream: fc.boolean(),
  behind: fc.boolean(),
  expiresAt: ms,
  hardEndAt: ms,
  now: ms,
});

test("nothing is ever kept for longer than asked for, nor past token and session, nor without an allow", () => {
  fc.assert(
    fc.property(asked, (any) => {
      const until = keepUntil(any) ?? 0;
      expect(until).toBeLessThanOrEqual(any.now + any.keepMs);
      expect(until).toBeLessThanOrEqual(Math.max(0, Math.min(any.expiresAt, any.hardEndAt)));
      if (!any.allowed) expect(until).toBe(0);
    }),
  );
});

test("a gateway only shortens what its targets keep", () => {
  fc.assert(
    fc.property(fc.nat(300), fc.option(fc.nat(300_000), { nil: undefined }), (keepSeconds, atMostMs) => {
      const seconds = keepSecondsAt({ keepSeconds }, atMostMs);
      expect(seconds).toBeLessThanOrEqual(keepSeconds);
      if (atMostMs !== undefined) expect(seconds * 1000).toBeLessThanOrEqual(atMostMs);
    }),
  );
});

describe("what status outputs show", () => {
  const enforced = { mode: "enforce", onOutage: { keepSeconds: 60 } } as const;
  const targets = new Map([
    ["billing", enforced],
    ["watched", { ...enforced, mode: "observe" as const }],
    ["ledger", { mode: "enforce" as const, onOutage: { keepSeconds: 0 } }],
  ]);
  const gateway = { kind: "nginx", njs: true, targets: ["billing", "watched", "ledger", "gone"] };

  test.each<{ what: string; part: object; kept: object[] }>([
    { what: "an NGINX with njs", part: {}, kept: [{ target: "billing", seconds: 60 }] },
    { what: "one that is bounded", part: { keepAtMostMs: 5000 }, kept: [{ target: "billing", seconds: 5 }] },
    { what: "one without njs", part: { njs: false }, kept: [] },
    { what: "one that says deny", part: { keepAtMostMs: 0 }, kept: [] },
    { what: "a gateway for NATS", part: { kind: "nats", njs: undefined }, kept: [] },
    { what: "a Linkerd", part: { kind: "linkerd", njs: undefined }, kept: [] },
  ])("$what", ({ part, kept }) => {
    expect(keptAt({ ...gateway, ...part }, targets)).toEqual(kept);
  });
});

describe("a gateway that keeps nothing", () => {
  const place = { file: "policy/shop.yaml", line: 9, column: 3, length: 4 };
  const target = { name: "billing", mode: "enforce", onOutage: { keepSeconds: 60, place } } as const;

  test("refuses a target that says keep, with its line", () => {
    expect(() => refuseAnyKeep({ name: "mesh" }, target, "it never asks")).toThrow(
      expect.objectContaining({
        code: "keep_unsupported",
        message: expect.stringMatching(/Gateway mesh: target billing .*60s \(policy\/shop.yaml:9\), and it never asks/),
      }),
    );
  });

  test.each([
    { what: "it says on_outage: deny itself", gateway: { name: "mesh", keepAtMostMs: 0 }, part: {} },
    { what: "the target is observed", gateway: { name: "mesh" }, part: { mode: "observe" as const } },
    { what: "the target denies", gateway: { name: "mesh" }, part: { onOutage: { keepSeconds: 0 } } },
  ])("renders where $what", ({ gateway, part }) => {
    expect(() => refuseAnyKeep(gateway, { ...target, ...part }, "it never asks")).not.toThrow();
  });
});
