import { createHmac, randomBytes } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createUsedTickets, isTicket, mintTicket, readTicket, type Ticket, ticketLifeMs } from "./ticket.ts";

const key = randomBytes(32);
const now = Date.parse("2026-11-24T14:00:00Z");
const ticket: Ticket = {
  connection: "nc_0123456789abcdef",
  session: "ses_0123456789abcdef",
  target: "events",
  serverId: "NDRVJFM7XS2FZ42FV2QVXWXWZUH7KZQZNVWHRGADO5DGJZQEEPQXTXNH",
  cid: 7,
  expiresAt: now + ticketLifeMs,
};
const text = mintTicket(key, ticket);

test("a ticket reads as it was minted, whatever its words are", () => {
  const word = fc.string({ maxLength: 60 });
  fc.assert(
    fc.property(word, word, word, word, fc.nat(), (connection, session, target, serverId, cid) => {
      const any = { connection, session, target, serverId, cid, expiresAt: now + 1 };
      expect(readTicket(key, mintTicket(key, any), now)).toEqual(any);
    }),
  );
});

test("it fits a CONNECT and a header: printable, one word, far below a control line", () => {
  expect(text).toMatch(/^wlt_[\w.-]{1,400}$/);
  expect([isTicket(text), isTicket("wln_x"), isTicket("eyJhbGciOi")]).toEqual([true, false, false]);
});

test("changed in any one place it is none", () => {
  fc.assert(
    fc.property(fc.nat({ max: text.length - 1 }), fc.constantFrom(..."ABab01-_.+/= "), (at, put) => {
      fc.pre(text[at] !== put);
      expect(readTicket(key, text.slice(0, at) + put + text.slice(at + 1), now)).toBeUndefined();
    }),
    { numRuns: 2_000 },
  );
});

/** Under the right key, of words that nobody minted, without what binds a MAC to tickets. */
const unbound = () => {
  const body = Buffer.from(JSON.stringify(Object.values(ticket))).toString("base64url");
  return `wlt_${body}.${createHmac("sha256", key).update(body).digest("base64url")}`;
};

test.each([
  { what: "nothing", given: "" },
  { what: "the prefix alone", given: "wlt_" },
  { what: "no MAC", given: text.slice(0, text.lastIndexOf(".") + 1) },
  { what: "a MAC that is cut short", given: text.slice(0, -1) },
  { what: "something after it", given: `${text}.` },
  { what: "a space before it", given: ` ${text}` },
  { what: "padding", given: `${text}=` },
  { what: "another key", given: mintTicket(randomBytes(32), ticket) },
  { what: "another MAC under the same key", given: unbound() },
  { what: "a very long one", given: mintTicket(key, { ...ticket, target: "x".repeat(2_000) }) },
  { what: "one that expires now", given: mintTicket(key, { ...ticket, expiresAt: now }) },
  { what: "one that is good for an hour", given: mintTicket(key, { ...ticket, expiresAt: now + 3_600_000 }) },
  { what: "one that never expires", given: mintTicket(key, { ...ticket, expiresAt: Number.POSITIVE_INFINITY }) },
])("not a live ticket: $what", ({ given }) => {
  expect(readTicket(key, given, now)).toBeUndefined();
});

test("a key that is too short mints nothing", () => {
  expect(() => mintTicket(randomBytes(16), ticket)).toThrow(TypeError);
});

test("a ticket is used once, and the memory holds no more than the live ones", () => {
  const used = createUsedTickets();
  let round = 0;
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 50 }), { minLength: 100, maxLength: 300 }), (order) => {
      const base = now + ++round * 1_000_000;
      const seen = new Set<string>();
      for (const [at, id] of order.entries()) {
        const time = base + at;
        const one = `${base} ${id}`;
        expect(used.use(one, base + 10_000, time)).toBe(!seen.has(one));
        seen.add(one);
      }
    }),
    { numRuns: 20 },
  );
  const later = createUsedTickets();
  for (let at = 0; at < 20_000; at++) expect(later.use(`t${at}`, now + at + ticketLifeMs, now + at)).toBe(true);
  expect(later.size).toBe(ticketLifeMs);
});
