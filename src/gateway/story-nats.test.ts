import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AuditRecord } from "../core/record.ts";
import { tellStory } from "./story.ts";
import type { StoryFacts } from "./story-facts.ts";
import { type FakeConnection, natsFacts } from "./story-nats.fake.ts";
import { problemCodes } from "./story-problems.ts";

const aCount = fc.nat(1000).map((messages) => ({ messages, bytes: messages * 128 }));
const aConnection: fc.Arbitrary<FakeConnection> = fc.oneof(
  fc.record({ published: aCount, delivered: aCount, atMs: fc.nat(60_000) }),
  fc.record({
    published: aCount,
    delivered: aCount,
    atMs: fc.nat(60_000),
    closedAfterMs: fc.integer({ min: -2, max: 900 }),
  }),
);
const connections = fc.array(aConnection, { minLength: 1, maxLength: 5 });
const one: FakeConnection = {
  published: { messages: 3, bytes: 384 },
  delivered: { messages: 2, bytes: 256 },
  atMs: 100,
  closedAfterMs: 4,
};

const codes = (facts: StoryFacts) => tellStory(facts).problems.map(({ code }) => code);
const without = (facts: StoryFacts, drop: (record: AuditRecord) => boolean): StoryFacts => ({
  ...facts,
  records: facts.records.filter((record) => !drop(record)),
});

describe("laws", () => {
  test("connections of which gateway, server and records say the same are confirmed, and each is told once", () => {
    fc.assert(
      fc.property(connections, (list) => {
        const story = tellStory(natsFacts(list));
        expect(story.problems).toEqual([]);
        expect(story).toMatchObject({ verdict: "confirmed" });
        expect(story.connections).toHaveLength(list.length);
      }),
    );
  });

  test.each(["nats.connected", "nats.disconnected"] as const)(
    "dropping one %s is noticed, and names the gateway",
    (kind) => {
      fc.assert(
        fc.property(connections, fc.nat(), (list, at) => {
          const facts = natsFacts(list);
          const all = facts.records.filter((record) => record.kind === kind);
          const { verdict, problems } = tellStory(without(facts, (record) => record === all[at % all.length]));
          expect(verdict).toBe("incomplete");
          expect(problems.map(({ hop }) => hop)).toEqual(["nats-1"]);
        }),
        { numRuns: 50 },
      );
    },
  );

  const wrong = fc.tuple(
    fc.constantFrom("published", "delivered"),
    fc.constantFrom("messages", "bytes"),
    fc.integer({ min: 1, max: 9 }),
  );

  test("a count of the records that is not the gateway's is a contradiction, whichever it is", () => {
    fc.assert(
      fc.property(connections, fc.nat(), wrong, (list, at, [what, unit, by]) => {
        const facts = natsFacts(list);
        fc.pre((facts.nats?.length ?? 0) > 0);
        const nats = facts.nats?.map((sum, index) =>
          index === at % (facts.nats?.length ?? 1)
            ? {
                ...sum,
                [what]: { ...sum[what as "published"], [unit]: sum[what as "published"][unit as "bytes"] + by },
              }
            : sum,
        );
        expect(codes({ ...facts, nats: nats ?? [] })).toEqual(["nats_records_differ"]);
      }),
      { numRuns: 100 },
    );
  });

  test("a count of the server that is not the gateway's is a contradiction, whichever it is", () => {
    fc.assert(
      fc.property(wrong, ([what, unit, by]) => {
        const server = { received: one.published, sent: one.delivered };
        const side = what === "published" ? "received" : "sent";
        const changed = { ...server, [side]: { ...server[side], [unit]: server[side][unit as "bytes"] + by } };
        const story = tellStory(natsFacts([one], { closed: { server: changed } }));
        expect(story.problems.map(({ code }) => code)).toEqual(["nats_counts_differ"]);
        expect(story.verdict).toBe("contradicted");
      }),
      { numRuns: 30 },
    );
  });
});

describe("what is wrong with a connection is told by its code", () => {
  const counts = { published: one.published, delivered: one.delivered };
  test.each([
    {
      why: "the gateway said so itself",
      facts: natsFacts([one], {
        more: [
          {
            kind: "nats.mismatch",
            data: {
              gateway: "nats-1",
              connection: "nc_aaaaaaaaaaaaaaaa",
              target: "events",
              account: "CI",
              gateway_counts: counts,
              server_counts: { received: { messages: 4, bytes: 512 }, sent: one.delivered },
            },
          },
        ],
      }),
      code: "nats_counts_differ",
      verdict: "contradicted",
    },
    {
      why: "the server's totals never came",
      facts: natsFacts([one], { closed: { server: undefined } }),
      code: "nats_totals_missing",
      verdict: "incomplete",
    },
    {
      why: "it was closed too late",
      facts: natsFacts([{ ...one, closedAfterMs: 1_001 }]),
      code: "nats_closed_late",
      verdict: "contradicted",
    },
    {
      why: "a message passed after the end",
      facts: natsFacts([one], { traffic: { lastAt: natsFacts([one]).session.endedAt! + 1_001 } }),
      code: "served_after_end",
      verdict: "contradicted",
    },
    {
      why: "no message has a record, and the gateway counted some",
      facts: { ...natsFacts([one]), nats: [] },
      code: "nats_records_differ",
      verdict: "contradicted",
    },
    {
      why: "the job talked to the server itself",
      facts: natsFacts([one], { connected: { mode: "direct" } }),
      code: "nats_unrecorded",
      verdict: "confirmed",
    },
  ])("$why", ({ facts, code, verdict }) => {
    const story = tellStory(facts);
    expect(story.problems.map((problem) => problem.code)).toEqual([code]);
    expect(story.verdict).toBe(verdict);
    for (const { causes, found, hop } of story.problems) {
      expect(Object.keys(problemCodes)).toContain(code);
      expect(new Set(causes).size).toBe(2);
      expect(hop).toBe("nats-1");
      expect(found).not.toMatch(/undefined|NaN|\[object/);
    }
  });

  test.each([
    {
      why: "a final record that waited for totals",
      facts: natsFacts([{ ...one, closedAfterMs: 3_000 }], { closed: { server: undefined } }),
      code: ["nats_totals_missing"],
    },
    {
      why: "messages that were not all added up",
      facts: natsFacts([one], { traffic: { cut: true, published: { messages: 1, bytes: 1 } } }),
      code: [],
    },
    { why: "a session that lives", facts: living(natsFacts([one])), code: [] },
    { why: "another session's connection", facts: others(natsFacts([one])), code: [] },
  ])("no further problem: $why", ({ facts, code }) => {
    expect(codes(facts)).toEqual(code);
  });
});

function living(facts: StoryFacts): StoryFacts {
  const { endedAt: _at, endReason: _reason, ...rest } = facts.session;
  const dropped = without(facts, ({ kind }) => kind === "session.ended" || kind === "nats.disconnected");
  return { ...dropped, session: { ...rest, state: "active" } };
}

function others(facts: StoryFacts): StoryFacts {
  const moved = facts.records.map((record) =>
    record.kind.startsWith("nats.") ? ({ ...record, session: "ses_zzzzzzzzzzzzzzzz" } as AuditRecord) : record,
  );
  return { ...facts, records: moved, nats: [] };
}

describe("the end", () => {
  test("tells when the last open connection was closed", () => {
    const story = tellStory(
      natsFacts([one, { ...one, closedAfterMs: 37 }, { published: one.published, delivered: one.delivered, atMs: 5 }]),
    );
    expect(story.ends).toEqual([{ gateway: "nats-1", boundMs: 1_000, closedAfterMs: 37 }]);
  });

  test("of a connection acts before its own record is written", () => {
    expect(tellStory(natsFacts([{ ...one, closedAfterMs: -1 }])).connections[0]?.closedAfterMs).toBe(0);
  });
});

test("what was denied over NATS needs no access token", () => {
  const data = {
    gateway: "nats-1",
    target: "events",
    operation: "pub deploy.prod",
    effect: "deny",
    outcome: "deny",
    reason: "no_role",
    policy: "41c0aa",
  } as const;
  const facts = without(
    natsFacts([one], { more: [{ kind: "decision", data }] }),
    ({ kind }) => kind === "credential.minted",
  );
  const story = tellStory(facts);
  expect(story.requests).toHaveLength(1);
  expect(story.problems).toEqual([]);
});

test("a session that a client opened with the job's token has no line in the job's log", () => {
  const records = natsFacts([]).records.map((record) =>
    record.kind === "session.opened"
      ? { ...record, data: { ...record.data, presented: { gateway: "bus", token_hash: "0" } } }
      : record,
  );
  const story = tellStory({ ...natsFacts([]), records, jobLog: { state: "absent", detail: "its trace" } });
  expect(story.verdict).toBe("confirmed");
  expect(story.jobLog.detail).toBe("a client presented the job's token at bus, which prints nothing");
});
