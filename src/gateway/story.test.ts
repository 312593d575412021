import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AuditRecord, GatewayRequestData } from "../core/record.ts";
import { session } from "./evidence.fake.ts";
import { endedAt, type FakeRequest, fakeFacts, native, nginx, openedAt, sidecar } from "./story.fake.ts";
import { tellStory } from "./story.ts";
import type { StoryFacts } from "./story-facts.ts";
import { problemCodes } from "./story-problems.ts";

const aRequest: fc.Arbitrary<FakeRequest> = fc.record({
  kind: fc.constantFrom("through", "edge only", "denied", "cached", "native"),
  atMs: fc.nat(60_000),
  path: fc.constantFrom("/v1/releases", "/v1/invoices/42", "/v1/%C3%A9"),
  sharedTrace: fc.boolean(),
  innerAsks: fc.boolean(),
});
const requests = fc.array(aRequest, { minLength: 1, maxLength: 6 });
const through: FakeRequest = { kind: "through", atMs: 0, path: "/v1/releases", sharedTrace: true, innerAsks: false };

const codes = (facts: StoryFacts) => tellStory(facts).problems.map(({ code }) => code);
const without = (facts: StoryFacts, drop: (record: AuditRecord) => boolean): StoryFacts => ({
  ...facts,
  records: facts.records.filter((record) => !drop(record)),
});
type Entry = AuditRecord & { readonly kind: "gateway.request" };
const isEntry = (record: AuditRecord): record is Entry => record.kind === "gateway.request";

/** One entry of the story, changed. */
function altered(facts: StoryFacts, at: number, change: (entry: Entry) => AuditRecord): StoryFacts {
  const entries = facts.records.filter(isEntry);
  const chosen = entries[at % entries.length];
  return { ...facts, records: facts.records.map((record) => (record === chosen ? change(chosen) : record)) };
}

const data = (entry: Entry, more: Partial<GatewayRequestData>): AuditRecord => ({
  ...entry,
  data: { ...entry.data, ...more },
});

describe("laws", () => {
  test("a story in which every hop says the same is confirmed", () => {
    fc.assert(
      fc.property(requests, (list) => {
        expect(tellStory(fakeFacts(list)).problems).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  test("every request is told once", () => {
    fc.assert(
      fc.property(requests, (list) => {
        const count = list.length + list.filter(({ kind }) => kind === "cached").length;
        expect(tellStory(fakeFacts(list)).requests).toHaveLength(count);
      }),
    );
  });

  test("the order in which records arrive changes nothing but their order", () => {
    fc.assert(
      fc.property(requests, fc.infiniteStream(fc.nat()), (list, order) => {
        const facts = fakeFacts(list);
        const shuffled = facts.records
          .map((record) => ({ record, by: order.next().value ?? 0 }))
          .toSorted((a, b) => a.by - b.by)
          .map(({ record }) => record);
        expect(codes({ ...facts, records: shuffled })).toEqual([]);
      }),
    );
  });

  test("dropping one gateway's own line is always noticed, and names the gateway", () => {
    fc.assert(
      fc.property(requests, fc.nat(), (list, at) => {
        const facts = fakeFacts(list);
        // What a gateway that decides alone did not log leaves no trace anywhere.
        const entries = facts.records
          .filter(isEntry)
          .filter((entry) => entry.data.gateway !== "edge-2" && entry.data.enforced !== "cached");
        fc.pre(entries.length > 0);
        const dropped = entries[at % entries.length];
        const { problems, verdict } = tellStory(without(facts, (record) => record === dropped));
        expect(verdict).not.toBe("confirmed");
        expect(problems.map(({ hop }) => hop)).toContain(dropped?.data.gateway);
      }),
      { numRuns: 300 },
    );
  });

  test("dropping all that is known of one hop of a chain is always noticed, and names it", () => {
    fc.assert(
      fc.property(requests, fc.constantFrom("edge-1", "billing-sidecar"), (list, gateway) => {
        fc.pre(list.some(({ kind }) => kind === "through"));
        const { problems } = tellStory(
          without(fakeFacts(list), (record) => "gateway" in record.data && record.data.gateway === gateway),
        );
        expect(problems.map(({ hop }) => hop)).toContain(gateway);
      }),
      { numRuns: 200 },
    );
  });

  test.each(["session.opened", "credential.minted", "session.ended"] as const)("dropping %s is noticed", (kind) => {
    fc.assert(
      fc.property(requests, (list) => {
        expect(tellStory(without(fakeFacts(list), (record) => record.kind === kind)).verdict).toBe("incomplete");
      }),
      { numRuns: 20 },
    );
  });

  test("dropping a decision that a gateway names is a contradiction", () => {
    fc.assert(
      fc.property(requests, fc.nat(), (list, at) => {
        const facts = fakeFacts(list);
        const decisions = facts.records.filter(({ kind }) => kind === "decision");
        fc.pre(decisions.length > 0);
        const dropped = decisions[at % decisions.length];
        expect(tellStory(without(facts, (record) => record === dropped)).verdict).toBe("contradicted");
      }),
      { numRuns: 200 },
    );
  });

  const changes: Record<string, (entry: Entry) => AuditRecord> = {
    session: (entry) => ({ ...entry, session: "ses_zzzzzzzzzzzzzzzz" }),
    subject: (entry) => data(entry, { subject: "spiffe://acme.example/ci/gitlab/1" }),
    role: (entry) => data(entry, { role: "admin" }),
    path: (entry) => data(entry, { path: "/v1/other" }),
    method: (entry) => data(entry, { method: "DELETE" }),
    target: (entry) => data(entry, { target: "payroll" }),
    "status class": (entry) => data(entry, { status: entry.data.status < 400 ? 403 : 200 }),
    "upstream's status class": (entry) => data(entry, { upstream_status: 503 }),
    decision: (entry) => data(entry, { decision: entry.data.decision === "allow" ? "deny" : "allow" }),
    policy: (entry) => data(entry, { policy: "ffffff" }),
    "named decision": (entry) => data(entry, { decision_record: "rec_zzzzzzzzzzzz" }),
    trace: (entry) => ({ ...entry, trace: "f".repeat(32) }),
  };

  test.each(Object.keys(changes))("altering what a hop says of its %s is a contradiction that names it", (name) => {
    fc.assert(
      fc.property(requests, fc.nat(), (list, at) => {
        const facts = fakeFacts(list.map((each) => (each.kind === "native" ? { ...each, kind: "through" } : each)));
        const entries = facts.records.filter(isEntry).filter(({ data: { enforced, decision } }) => {
          // A cached line has a trace of its own; a denial names no role.
          if (name === "trace") return enforced !== "cached";
          return name !== "role" || decision === "allow";
        });
        fc.pre(entries.length > 0);
        const chosen = entries[at % entries.length] as Entry;
        const changed = changes[name] ?? ((entry: Entry) => entry);
        const { verdict, problems } = tellStory({
          ...facts,
          records: facts.records.map((record) => (record === chosen ? changed(chosen) : record)),
        });
        expect(verdict).toBe("contradicted");
        const named = problems.filter(({ kind }) => kind === "contradiction").map(({ hop }) => hop);
        expect(named.some((hop) => hop === chosen.data.gateway || hop === "billing-sidecar")).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test("every problem gives two causes and says what was looked for", () => {
    fc.assert(
      fc.property(requests, fc.nat(), (list, at) => {
        const facts = fakeFacts(list);
        const { problems } = tellStory(without(facts, (record) => record === facts.records[at % facts.records.length]));
        for (const { code, causes, found } of problems) {
          expect(Object.keys(problemCodes)).toContain(code);
          expect(new Set(causes.filter(Boolean)).size).toBe(2);
          expect(found).not.toMatch(/undefined|NaN|\[object/);
        }
      }),
    );
  });
});

describe("what is wrong is told by its code", () => {
  const facts = fakeFacts([through]);
  const lone = fakeFacts([{ ...through, kind: "edge only" }]);
  const sidecars = (change: (entry: Entry) => AuditRecord) => altered(facts, 1, change);

  test.each([
    {
      why: "the inner gateway saw no certificate",
      facts: sidecars((entry) => {
        const { peer: _peer, ...rest } = entry.data;
        return { ...entry, data: rest };
      }),
      code: "peer_differs",
    },
    {
      why: "the inner gateway saw another certificate",
      facts: sidecars((entry) => data(entry, { peer: "spiffe://acme.example/gateway/edge-9" })),
      code: "peer_differs",
    },
    {
      why: "a request was served long after the end",
      facts: altered(fakeFacts([{ ...through, kind: "native" }]), 0, (entry) => data(entry, { at: endedAt + 5_000 })),
      code: "served_after_end",
    },
    {
      why: "two lines claim one decision",
      facts: {
        ...lone,
        records: [...lone.records, { ...(lone.records.find(isEntry) as Entry), id: "rec_00000000zzzz" }],
      },
      code: "decision_reused",
    },
    {
      why: "the job's log has no such line",
      facts: { ...facts, jobLog: { state: "absent", detail: "its trace" } as const },
      code: "job_log_line_missing",
    },
    {
      why: "a native gateway has never sent its log",
      facts: { ...facts, gateways: [nginx, sidecar, { ...native, heardAt: openedAt - 1 }] },
      code: "gateway_silent",
    },
    {
      why: "a native gateway that lives has never sent its log",
      facts: { ...facts, gateways: [nginx, sidecar, { ...native, heardAt: openedAt - 1, aliveAt: openedAt + 1 }] },
      code: "gateway_quiet",
    },
  ])("$why", (wrong) => {
    expect(codes(wrong.facts)).toEqual([wrong.code]);
  });

  test("a note alone leaves the story confirmed", () => {
    const quiet = { ...facts, gateways: [nginx, sidecar, { ...native, heardAt: openedAt - 1, aliveAt: openedAt + 1 }] };
    expect(tellStory(quiet).verdict).toBe("confirmed");
  });

  test("what an inner hop refused to somebody else is a note, and no contradiction", () => {
    const asked = facts.records.find(
      (record): record is Entry => isEntry(record) && record.data.gateway === sidecar.name,
    );
    if (asked === undefined) throw new TypeError("the sidecar has a line");
    const { upstream_status: _none, ...rest } = asked.data;
    const knock = {
      ...asked,
      id: "rec_00000000yyyy",
      data: { ...rest, at: rest.at + 5, status: 403, decision: "deny" },
    };
    const { problems, verdict } = tellStory({ ...facts, records: [...facts.records, knock] });
    expect(problems.map(({ code }) => code)).toEqual(["refused_past_front"]);
    expect(verdict).toBe("confirmed");
  });

  test("the same, served, is a contradiction", () => {
    const asked = facts.records.find(
      (record): record is Entry => isEntry(record) && record.data.gateway === sidecar.name,
    );
    if (asked === undefined) throw new TypeError("the sidecar has a line");
    const { verdict } = tellStory({ ...facts, records: [...facts.records, { ...asked, id: "rec_00000000yyyy" }] });
    expect(verdict).toBe("contradicted");
  });

  const pair = {
    caller: "spiffe://c/ns/edge/sa/nginx",
    service: "spiffe://c/ns/bank/sa/billing",
    workload: "bank/billing",
  };
  const during = { requests: 3, firstAt: openedAt + 1, lastAt: openedAt + 2 };
  const mesh = (...pairs: NonNullable<StoryFacts["mesh"]>["pairs"]) => ({
    ...facts,
    mesh: { source: "metrics", pairs },
  });

  test.each([
    { why: "nobody talked", pairs: [], found: ["mesh_silent"] },
    { why: "proven identities", pairs: [{ ...pair, ...during, mtls: true }], found: [] },
    {
      why: "proven identities at another time",
      pairs: [{ ...pair, mtls: true, requests: 1, firstAt: 1, lastAt: 2 }],
      found: ["mesh_silent"],
    },
    {
      why: "somebody without a certificate",
      pairs: [
        { ...pair, ...during, mtls: true },
        { ...pair, ...during, caller: undefined, mtls: false },
      ],
      found: ["mesh_plaintext"],
    },
    {
      why: "somebody without a certificate, nobody knows when",
      pairs: [
        { ...pair, ...during, mtls: true },
        { ...pair, caller: undefined, mtls: false, requests: 9, firstAt: 5, lastAt: 5 },
      ],
      found: [],
    },
  ])("a mesh's metrics: $why", ({ pairs, found }) => {
    expect(codes(mesh(...pairs))).toEqual(found);
  });

  test.each([
    { why: "an answer that was not read", facts: { ...facts, jobLog: { state: "unread", detail: "no API" } as const } },
    {
      why: "a policy that changes while requests are under way",
      facts: {
        ...sidecars((entry) => data(entry, { policy: "ffffff" })),
        policies: [{ version: "ffffff", at: openedAt }],
      },
    },
    {
      why: "an inner gateway that could not be reached",
      facts: without(
        altered(facts, 0, (entry) => data(entry, { status: 502, upstream_status: 502 })),
        (record) => isEntry(record) && record.data.gateway === "billing-sidecar",
      ),
    },
    {
      why: "a gateway that never sends its log",
      facts: without(
        { ...facts, gateways: [{ ...nginx, ships: "none" as const }, sidecar, native] },
        (record) => isEntry(record) && record.data.gateway === "edge-1",
      ),
    },
    {
      why: "a conditional request",
      facts: altered(fakeFacts([{ ...through, kind: "edge only" }]), 0, (entry) =>
        data(entry, { status: 304, upstream_status: 200 }),
      ),
    },
  ])("no problem: $why", (right) => {
    expect(codes(right.facts)).toEqual([]);
  });

  test("a missing line names the log that is not shipped first, unless that log arrives", () => {
    const dropped = without(facts, (record) => isEntry(record) && record.data.gateway === "edge-1");
    const silent = { ...dropped, gateways: [{ ...nginx, heardAt: openedAt - 1 }, sidecar, native] };
    expect(tellStory(silent).problems[0]?.causes[0]).toContain("wayleave gateway follow --gateway edge-1");
    expect(tellStory(dropped).problems[0]?.causes[0]).toContain("access_log");
  });

  test("another session's requests under the same trace are not ours", () => {
    const { records } = facts;
    const others = records
      .filter(({ kind }) => kind === "decision" || kind === "gateway.request")
      .map((record, at) => {
        const id = `rec_${String(at).padStart(12, "9")}`;
        const copy = { ...record, id, session: "ses_zzzzzzzzzzzzzzzz" } as AuditRecord;
        if (!isEntry(copy)) return copy;
        return { ...copy, data: { ...copy.data, subject: "spiffe://other", decision_record: "rec_999999999999" } };
      });
    expect(codes({ ...facts, records: [...records, ...others] })).toEqual([]);
  });

  test("an anonymous request under the same trace does not stand in for a hop", () => {
    const anonymous = altered(facts, 1, (entry) => {
      const { decision_record: _record, subject: _subject, role: _role, decision: _decision, ...rest } = entry.data;
      const { session: _session, job: _job, ...bare } = entry;
      return { ...bare, data: { ...rest, status: 401 } } as AuditRecord;
    });
    expect(tellStory(anonymous).verdict).not.toBe("confirmed");
  });
});

describe("the end", () => {
  test("tells when each gateway first refused", () => {
    const late: FakeRequest = { ...through, kind: "denied", atMs: endedAt - openedAt - 1_000 + 37 };
    const story = tellStory(fakeFacts([through, late]));
    expect(story.problems).toEqual([]);
    expect(story.ends).toEqual([
      { gateway: "edge-1", boundMs: 0, firstRefusedAfterMs: 37 },
      { gateway: "billing-sidecar", boundMs: 1_000 },
    ]);
  });

  test("of a session that lives is not told", () => {
    const facts = fakeFacts([through]);
    const { endedAt: _at, endReason: _reason, ...rest } = facts.session;
    const live = without({ ...facts, session: { ...rest, state: "active" } }, ({ kind }) => kind === "session.ended");
    expect(tellStory(live)).toMatchObject({ verdict: "confirmed", ends: [] });
  });
});

test("a trace narrows the story to its requests", () => {
  const facts = fakeFacts([
    { ...through, sharedTrace: false },
    { ...through, atMs: 500, sharedTrace: false },
  ]);
  const broken = without(
    facts,
    (record) => isEntry(record) && record.data.at < openedAt + 1_200 && record.data.gateway === "edge-1",
  );
  const [first, second] = tellStory(broken).requests.map(({ first: hop }) => hop.decision?.trace);
  expect(tellStory(broken, { trace: first ?? "" }).verdict).toBe("incomplete");
  expect(tellStory(broken, { trace: second ?? "" })).toMatchObject({ verdict: "confirmed", requests: [{}] });
  expect(session).toMatch(/^ses_/);
});
