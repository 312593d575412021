import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, edge, fakeIntake, job, nginxLine, now, recordsOf, session, trace } from "./evidence.fake.ts";
import { readNginxLine } from "./nginx/access-log.ts";

const piece = (lines: readonly string[], offset = 0, file = "f1") => ({ file, offset, bytes: bytesOf(lines) });
const paths = (count: number) => Array.from({ length: count }, (_, at) => nginxLine({ path: `/v1/${at}` }));

describe("a gateway's log file", () => {
  test("becomes records with session, job and trace", async () => {
    const { intake, requests } = fakeIntake();
    const lines = [nginxLine()];
    const answer = await intake.takeFile(edge, piece(lines), readNginxLine);
    expect(answer).toEqual({ taken: 1, repeated: 0, refused: 0, upto: bytesOf(lines).length });
    expect(requests()).toEqual([
      {
        kind: "gateway.request",
        session,
        job,
        trace,
        data: {
          gateway: "edge-1",
          hop: "nginx",
          at: Date.parse("2026-11-24T09:30:12Z"),
          method: "POST",
          host: "billing.internal",
          path: "/v1/releases",
          status: 201,
          target: "billing",
          enforced: "call_out",
          decision: "allow",
          reason: "allowed",
          decision_record: "rec_000000000001",
          subject: "spiffe://acme.example/ci/gitlab/1042",
          role: "release",
          upstream_status: 201,
          seconds: 0.004,
        },
      },
    ]);
  });

  test("leaves a line without its break for the next time", async () => {
    const { intake, requests } = fakeIntake();
    const [first = "", second = ""] = paths(2);
    const bytes = Buffer.from(`${first}\n${second}`);
    const answer = await intake.takeFile(edge, { file: "f1", offset: 0, bytes }, readNginxLine);
    expect(answer).toMatchObject({ taken: 1, upto: Buffer.byteLength(first) + 1 });
    await intake.takeFile(edge, piece([second], answer.upto), readNginxLine);
    expect(requests()).toHaveLength(2);
  });

  test("counts the same lines at other places: they are other requests", async () => {
    const { intake } = fakeIntake();
    expect(await intake.takeFile(edge, piece([nginxLine(), nginxLine()]), readNginxLine)).toMatchObject({ taken: 2 });
  });

  test("sent again from the start, whole or in part, is recorded once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(7), fc.nat(9)), { minLength: 1, maxLength: 8 }), async (cuts) => {
        const { intake, requests } = fakeIntake();
        const lines = paths(8);
        for (const [from, count] of [...cuts, [0, 8] as const]) {
          const offset = bytesOf(lines.slice(0, from)).length;
          await intake.takeFile(edge, piece(lines.slice(from, from + count), offset), readNginxLine);
        }
        const told = requests().map(({ data }) => ("path" in data ? data.path : ""));
        expect(new Set(told).size).toBe(told.length);
      }),
      { numRuns: 60 },
    );
  });

  test("is not doubled by a restart of the broker, nor by an agent that lost its place", async () => {
    const lines = [...paths(5), nginxLine(), nginxLine()];
    const first = fakeIntake();
    await first.intake.takeFile(edge, piece(lines), readNginxLine);
    const second = fakeIntake(recordsOf(first.events));
    const answer = await second.intake.takeFile(
      edge,
      piece([...lines, nginxLine({ path: "/new" })], 0, "f2"),
      readNginxLine,
    );
    expect(answer).toMatchObject({ taken: 1, repeated: 7 });
    expect(second.requests()).toHaveLength(1);
  });

  test("that the journal cannot take is answered with how far it came, and goes on from there", async () => {
    const { intake, requests, room } = fakeIntake();
    const lines = paths(450);
    room(250);
    const answer = await intake.takeFile(edge, piece(lines), readNginxLine);
    expect(answer).toMatchObject({ taken: 250, upto: bytesOf(lines.slice(0, 250)).length });
    room(0);
    await expect(intake.takeFile(edge, piece(lines), readNginxLine)).rejects.toMatchObject({
      code: "journal_unavailable",
    });
    room(1000);
    expect(await intake.takeFile(edge, piece(lines), readNginxLine)).toMatchObject({ taken: 200, repeated: 250 });
    expect(requests()).toHaveLength(450);
  });

  test("waits for the disk every few hundred lines, and never has more pieces waiting than a few", async () => {
    const { intake, settles } = fakeIntake();
    const sent = Array.from({ length: 6 }, (_, at) =>
      intake.takeFile(edge, piece(paths(450), 0, `f${at}`), readNginxLine).then(
        () => "taken",
        (error: { code: string }) => error.code,
      ),
    );
    const answers = await Promise.all(sent);
    expect(answers).toEqual(["taken", "taken", "taken", "taken", "journal_unavailable", "journal_unavailable"]);
    expect(settles()).toBe(12);
  });
});

describe("hostile lines", () => {
  const unknown = "ses_zzzzzzzzzzzzzzzz";

  test.each([
    { why: "no JSON", line: "POST /v1/releases 201" },
    { why: "a list", line: "[]" },
    { why: "cut short", line: nginxLine().slice(0, -9) },
    { why: "another gateway", line: nginxLine({ gateway: "edge-2" }) },
    { why: "no gateway", line: nginxLine({ gateway: undefined }) },
    { why: "a status of another type", line: nginxLine({ status: { code: 201 } }) },
    { why: "a status that is none", line: nginxLine({ status: "-1" }) },
    { why: "no path", line: nginxLine({ path: "" }) },
    { why: "a method of another type", line: nginxLine({ method: ["GET"] }) },
    { why: "a time that is none", line: nginxLine({ time: "yesterday" }) },
    { why: "a time of another type", line: nginxLine({ time: 1 }) },
    { why: "a time in the future", line: nginxLine({ time: "2026-11-24T09:36:12+00:00" }) },
    { why: "a time long past", line: nginxLine({ time: "2026-11-22T09:30:12+00:00" }) },
    { why: "endless", line: nginxLine({ path: `/${"a".repeat(20_000)}` }) },
  ])("are refused and said: $why", async ({ line }) => {
    const { intake, requests, refusals } = fakeIntake();
    const answer = await intake.takeFile(edge, piece([line, nginxLine()]), readNginxLine);
    expect(answer).toMatchObject({ taken: 1, refused: 1, upto: bytesOf([line, nginxLine()]).length });
    expect(requests()).toHaveLength(1);
    expect(refusals()).toMatchObject([{ data: { gateway: "edge-1", code: "invalid_request" } }]);
  });

  test("by the thousand are one record", async () => {
    const { intake, refusals } = fakeIntake();
    const lines = Array.from({ length: 3000 }, () => "no");
    expect(await intake.takeFile(edge, piece(lines), readNginxLine)).toMatchObject({ refused: 3000 });
    expect(refusals()).toHaveLength(1);
  });

  test("without a break never stop the file, and their end is no line of its own", async () => {
    const { intake, requests } = fakeIntake();
    const long = Buffer.from("x".repeat(40_000));
    const first = await intake.takeFile(edge, { file: "f1", offset: 0, bytes: long }, readNginxLine);
    expect(first).toEqual({ taken: 0, repeated: 0, refused: 0, upto: 40_000 });
    const forged = await intake.takeFile(
      edge,
      piece([nginxLine({ path: "/forged" }), nginxLine()], 40_000),
      readNginxLine,
    );
    expect(forged).toMatchObject({ taken: 1, refused: 1 });
    expect(requests()).toMatchObject([{ data: { path: "/v1/releases" } }]);
  });

  test.each([
    { why: "an unknown session", more: { session: unknown }, detail: `names ${unknown}, which is no session here` },
    { why: "a malformed session", more: { session: "ses_'; drop" }, detail: "names a malformed session" },
    {
      why: "a target it does not front",
      more: { target: "ledger" },
      detail: "names target ledger, which it does not front",
    },
    { why: "a malformed record", more: { record: "rec_nope" }, detail: "names a malformed record" },
    {
      why: "a clock that is ahead",
      more: { time: "2026-11-24T09:30:42+00:00" },
      detail: "its clock is 30 s ahead of the broker's",
    },
  ])("are recorded without what they cannot know: $why", async ({ more, detail }) => {
    const { intake, requests } = fakeIntake();
    await intake.takeFile(edge, piece([nginxLine(more)]), readNginxLine);
    const [event] = requests();
    expect(event).toMatchObject({ data: { detail } });
    if ("session" in more) expect(event).not.toHaveProperty("session");
    if ("session" in more) expect(event).not.toHaveProperty("job");
    if ("target" in more) expect(event?.data).not.toHaveProperty("target");
    if ("record" in more) expect(event?.data).not.toHaveProperty("decision_record");
  });

  test("never say whose job it is: that comes from the session", async () => {
    const { intake, requests } = fakeIntake();
    await intake.takeFile(edge, piece([nginxLine({ job: "acme/bank#1" })]), readNginxLine);
    expect(requests()).toMatchObject([{ job: { project: "acme/shop", job_id: "7712" } }]);
  });

  test("whatever they are: every byte is dealt with, and no control character or token is recorded", async () => {
    const value = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "a\u001b[2J\nb", "\u202e", "x".repeat(3000)),
      fc.integer(),
      fc.constant(null),
      fc.array(fc.string()),
    );
    const names = Object.keys(JSON.parse(nginxLine()));
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...names), value), async (more) => {
        const { intake, events } = fakeIntake();
        const lines = [nginxLine(more)];
        const answer = await intake.takeFile(edge, piece(lines), readNginxLine);
        expect(answer.upto).toBe(bytesOf(lines).length);
        expect(answer.taken + answer.refused).toBe(1);
        const text = events.map((event) => Object.values(event.data).join("\u0001")).join("\u0001");
        expect(text.replaceAll("\u0001", "")).not.toMatch(/[\p{Cc}\p{Cf}]|eyJ/u);
        expect(text.length).toBeLessThan(5000);
      }),
      { numRuns: 300 },
    );
  });

  test("of a query string lose it", async () => {
    const { intake, requests } = fakeIntake();
    await intake.takeFile(edge, piece([nginxLine({ path: "/v1/x?token=secret" })]), readNginxLine);
    expect(requests()).toMatchObject([{ data: { path: "/v1/x" } }]);
  });
});

describe("what enforced a request", () => {
  test.each([
    { more: { cache: "HIT" }, enforced: "cached" },
    { more: { cache: "MISS" }, enforced: "call_out" },
    { more: { decision: "", cache: "" }, enforced: undefined },
  ])("is read from its line: $more", async ({ more, enforced }) => {
    const { intake, requests } = fakeIntake();
    await intake.takeFile(edge, piece([nginxLine(more)]), readNginxLine);
    expect(requests().map(({ data }) => ("enforced" in data ? data.enforced : undefined))).toEqual([enforced]);
  });

  test("a client that left got nothing", async () => {
    const { intake, requests } = fakeIntake();
    await intake.takeFile(edge, piece([nginxLine({ status: "499", upstream_status: "502, 201" })]), readNginxLine);
    expect(requests()).toMatchObject([{ data: { status: 0, upstream_status: 201 } }]);
  });
});

describe("a stream of entries", () => {
  const entry = { at: now, method: "GET", host: "billing", path: "/v1/x", status: 200, session, trace };

  test("takes each once, however often it is sent", async () => {
    const { intake, requests } = fakeIntake();
    expect(await intake.takeEntries(edge, [entry, entry, { ...entry, at: now + 1 }])).toEqual({
      taken: 2,
      repeated: 1,
      refused: 0,
    });
    expect(await intake.takeEntries(edge, [entry])).toMatchObject({ repeated: 1 });
    expect(requests()).toHaveLength(2);
  });

  test("that could not be recorded is new when it comes again", async () => {
    const { intake, room } = fakeIntake();
    room(0);
    await expect(intake.takeEntries(edge, [entry])).rejects.toMatchObject({ code: "journal_unavailable" });
    room(1);
    expect(await intake.takeEntries(edge, [entry])).toMatchObject({ taken: 1 });
  });

  test("tells when the gateway was heard and how its clock stands", async () => {
    const { intake } = fakeIntake();
    await intake.takeEntries(edge, [{ ...entry, at: now + 1500 }]);
    expect(intake.heard.get("edge-1")).toEqual({ at: now, aheadMs: 1500 });
  });
});
