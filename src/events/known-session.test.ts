import { expect, test } from "vitest";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { jobIdentity, sessionId } from "./event-world.fake.ts";
import { sessionFromRecords } from "./known-session.ts";

const at = Date.parse("2026-11-24T09:30:00Z");

function record(event: AuditEvent, minute: number): AuditRecord {
  const time = new Date(at + minute * 60_000).toISOString();
  return { ...event, v: 1, id: "rec_test00000001", seq: 1, time };
}

const opened = record(
  {
    kind: "session.opened",
    session: sessionId,
    data: {
      identity: jobIdentity(),
      hard_end_at: at + 3_600_000,
      replay_key: "r",
      replay_until: at,
      refresh_hash: "h",
      roles: [],
      policy: "p",
      token: "t",
    },
  },
  0,
);
const renewed = record(
  {
    kind: "session.renewed",
    session: sessionId,
    data: { hard_end_at: at + 7_200_000, replay_key: "q", replay_until: at },
  },
  30,
);
const ended = record({ kind: "session.ended", session: sessionId, data: { reason: "client_end" } }, 45);

test("an ended session is told from its records: when it was open, and no facts", () => {
  expect(sessionFromRecords(sessionId, [ended, renewed, opened])).toEqual({
    view: {
      id: sessionId,
      identity: jobIdentity(),
      state: "ended",
      openedAt: at,
      hardEndAt: at + 7_200_000,
      endReason: "client_end",
      endedAt: at + 45 * 60_000,
    },
    facts: {},
  });
});

test("one whose end was not recorded ends with its hard end", () => {
  expect(sessionFromRecords(sessionId, [opened])?.view).toMatchObject({ state: "ended", hardEndAt: at + 3_600_000 });
});

test("without the record that opened it, or with another session's, there never was one", () => {
  expect(sessionFromRecords(sessionId, [renewed, ended])).toBeUndefined();
  expect(sessionFromRecords("ses_aaaaaaaaaaaaaaaa", [opened])).toBeUndefined();
});
