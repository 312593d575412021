import { expect, test } from "vitest";
import { FakeAuthority, type FakeJob } from "./authority.fake.ts";
import type { Denial } from "./denial.ts";
import { type PublishRight, PublishRights } from "./publish-rights.ts";
import { createResponsePermits } from "./response-permits.ts";

async function world(job: Omit<FakeJob, "password">) {
  const held = { password: "a", ...job };
  const authority = new FakeAuthority({ a: held });
  const presented = { secret: "a" };
  const admission = await authority.admit({ gateway: "nats-1", presented, from: "", client: {} });
  const permits = createResponsePermits({ max: 10, lifeMs: 1_000, now: () => 0 });
  const rights = new PublishRights(authority, admission, permits);
  rights.refresh();
  const ask = (subject: string, replies = false) => {
    const found: PublishRight | Denial = rights.find(subject, replies);
    return "row" in found ? found.row : `${found.reason}: ${found.operation.verb} ${found.operation.subject}`;
  };
  return { authority, rights, permits, job: held, ask };
}

test.each([
  ["pub a.x", "a.x", false, "role a.x "],
  ["pub a.x", "a.x", true, "role a.x "],
  ["req a.x", "a.x", true, "role a.x "],
  ["req a.x", "a.x", false, "no_role: pub a.x"],
  ["sub a.x", "a.x", true, "no_role: req a.x"],
  ["pub a.x", "a.y", false, "no_role: pub a.y"],
  ["pull S.C", "$JS.API.CONSUMER.MSG.NEXT.S.C", true, "role $JS.API.CONSUMER.MSG.NEXT.S.C "],
  ["pull S.C", "$JS.API.CONSUMER.INFO.S.D", true, "no_role: pull S.D"],
  ["pull S.C", "$JS.ACK.S.C.1.2.3.4.5", false, "role $JS.ACK.S.C.1.2.3.4.5 "],
  ["pull S.C", "$JS.ACK.S.D.1.2.3.4.5", false, "no_role: pull S.D"],
  ["pull S.C", "$JS.ACK.S.C", false, "subject_refused: pub $JS.ACK.S.C"],
  ["pull S.C", "$JS.API.INFO", true, "role $JS.API.INFO "],
  ["pub a.x", "$JS.API.INFO", true, "no_role: pull *.*"],
  ["pub >", "$SYS.REQ.USER.AUTH", false, "subject_refused: pub $SYS.REQ.USER.AUTH"],
  ["pub >", "_INBOX.x", false, "subject_refused: pub _INBOX.x"],
] as const)("with %s a message on %s (reply: %s) is %s", async (allow, subject, replies, expected) => {
  const { ask } = await world({ allow: [allow] });
  expect(ask(subject, replies)).toBe(expected);
});

test("policy is asked once for a subject, until something may have changed", async () => {
  const { authority, rights, ask, job } = await world({ allow: ["pub a.*", "pull S.C"] });
  for (let at = 0; at < 5; at++) ask("a.x");
  for (let at = 0; at < 5; at++) ask(`$JS.ACK.S.C.1.${at}.3.4.5`);
  expect(authority.decided).toBe(2);
  job.allow = [];
  rights.refresh();
  expect(ask("a.x")).toBe("role a.x "); // nothing was said to have changed
  authority.changed("a");
  rights.refresh();
  expect([ask("a.x"), ask("$JS.ACK.S.C.1.1.3.4.5")]).toEqual(["no_role: pub a.x", "no_role: pull S.C"]);
});

test("a decision for one kind of message says nothing about the other", async () => {
  const { ask } = await world({ allow: ["req a.x"] });
  expect([ask("a.x", true), ask("a.x", false), ask("a.x", true)]).toEqual([
    "role a.x ",
    "no_role: pub a.x",
    "role a.x ",
  ]);
});

test("a decision with a condition or a limit is made anew for each message", async () => {
  const conditional = await world({ allow: ["pub a.x"], conditional: true });
  for (let at = 0; at < 3; at++) conditional.ask("a.x");
  expect(conditional.authority.decided).toBe(3);
  const limited = await world({ allow: ["pub a.x"], limit: 2 });
  expect(limited.rights.find("a.x", false)).toMatchObject({ counts: { limit: { max: 2 } } });
  limited.authority.counted = 2;
  expect(limited.ask("a.x")).toBe("limit_exceeded: pub a.x");
});

test("a message that was delivered may be answered once, whatever its reply, and a right is not used up for it", async () => {
  const { ask, permits } = await world({ allow: ["pub a.x"] });
  for (const reply of ["_INBOX_other.x", "$JS.ACK.S.C.1.2.3.4.5", "a.y", "a.x"]) permits.grant(reply);
  expect(ask("_INBOX_other.x")).toBe("reply _INBOX_other.x ");
  expect(ask("_INBOX_other.x")).toBe("subject_refused: pub _INBOX_other.x");
  expect(ask("$JS.ACK.S.C.1.2.3.4.5")).toBe("reply $JS.ACK.S.C.1.2.3.4.5 ");
  expect(ask("a.y")).toBe("reply a.y ");
  expect(ask("a.y")).toBe("no_role: pub a.y");
  expect(ask("a.x")).toBe("role a.x ");
  expect(permits.size).toBe(1);
});

test.each(["enforce", "observe"] as const)("a session that is not active answers nobody, mode %s", async (mode) => {
  const { authority, permits, ask } = await world({ allow: ["pub a.x"], mode });
  permits.grant("_INBOX_other.x");
  authority.state = "suspended";
  expect(ask("_INBOX_other.x")).toBe("session_suspended: pub _INBOX_other.x");
  expect(ask("a.x")).toBe("session_suspended: pub a.x");
});

test("an observed target lets through what policy denies, and says it once", async () => {
  const { rights } = await world({ allow: ["pub a.x"], mode: "observe" });
  expect(rights.find("b.x", false)).toMatchObject({ row: "- b.x ", observed: { reason: "no_role" } });
  expect(rights.find("b.x", false)).toEqual({ row: "- b.x ", policy: "p" });
  expect(rights.find("$SYS.x", false)).toMatchObject({ reason: "subject_refused" });
});

test("what is kept is bounded", async () => {
  const { authority, ask } = await world({ allow: ["pub a.*"] });
  for (let at = 0; at < 1_001; at++) ask(`a.${at}`);
  ask("a.1000");
  expect(authority.decided).toBe(1_001);
  ask("a.0");
  expect(authority.decided).toBe(1_002);
  for (let at = 0; at < 3; at++) ask(`a.${"x".repeat(127)}`);
  expect(authority.decided).toBe(1_005);
});
