import { expect, test } from "vitest";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { KeyHistory } from "./key-history.ts";

const start = Date.parse("2026-11-24T09:30:00Z");

/** Records a second apart. */
function told(...events: readonly AuditEvent[]): KeyHistory {
  const history = new KeyHistory();
  for (const [at, event] of events.entries()) {
    const time = new Date(start + at * 1000).toISOString();
    history.apply({ ...event, v: 1, id: `rec_${at}`, seq: at + 1, time } as AuditRecord);
  }
  return history;
}

const of = (kid: string, keyClass = "access-token") => ({ class: keyClass, kid });

test("a key goes as far as its records say, and one key signs at a time", () => {
  const history = told(
    { kind: "key.created", data: of("a") },
    { kind: "key.activated", data: of("a") },
    { kind: "key.created", data: of("b") },
    { kind: "key.prepared", data: { ...of("b"), usable_at: start + 9000 } },
    { kind: "key.activated", data: { ...of("b"), replaces: "a" } },
    { kind: "key.created", data: of("c") },
  );
  expect(history.of("access-token")).toEqual([
    { kid: "a", state: "retiring", createdAt: start, activatedAt: start + 1000, lifeMs: 0 },
    {
      kid: "b",
      state: "active",
      createdAt: start + 2000,
      usableAt: start + 9000,
      activatedAt: start + 4000,
      lifeMs: 0,
    },
    { kid: "c", state: "staged", createdAt: start + 5000, lifeMs: 0 },
  ]);
});

test.each(["key.created", "key.activated", "key.retired"] as const)("no later %s takes a revocation back", (kind) => {
  const history = told({ kind: "key.revoked", data: of("a") }, { kind, data: of("a") });
  expect(history.of("access-token")).toMatchObject([{ kid: "a", state: "revoked" }]);
});

test("the same kid in another class is another key", () => {
  const history = told({ kind: "key.activated", data: of("a") }, { kind: "key.revoked", data: of("a", "assertion") });
  expect(history.of("access-token")).toMatchObject([{ state: "active" }]);
  expect(history.of("jwt-svid")).toEqual([]);
});

test("a class of a later version, and records about other things, are passed over", () => {
  const history = told({ kind: "key.revoked", data: of("a", "cloud") }, { kind: "broker.stopped", data: {} });
  expect(history.of("access-token")).toEqual([]);
});
