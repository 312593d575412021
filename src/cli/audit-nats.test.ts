import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AuditRecord } from "../core/record.ts";
import { listRecords } from "./audit-list.ts";
import {
  denied,
  disconnected,
  job,
  messages,
  natsData,
  place,
  published,
  recordsOf,
  session,
} from "./audit-nats.fake.ts";
import { listNats } from "./audit-nats.ts";
import { listSubject } from "./audit-subject.ts";
import { Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import type { Operator } from "./operator.ts";
import { lineWidth } from "./terminal.ts";

/** A broker that has these records, oldest first. */
function operatorOf(records: readonly AuditRecord[], asked: string[] = []): Operator {
  const never = () => Promise.reject(new Error("not asked for"));
  return {
    get: async <T>(path: string) => {
      asked.push(path);
      const query = new URLSearchParams(path.split("?")[1]);
      const before = query.get("before") ?? "rec_zzzzzzzzzzzz";
      const kind = query.get("kind") ?? "nats.published";
      const found = records.filter((record) => record.kind === kind && record.id < before).toReversed();
      return { records: query.has("subject") ? found.slice(0, 2) : found } as T;
    },
    post: never,
    async *lines(path) {
      asked.push(path);
      yield* records.map((record) => JSON.stringify(record));
    },
    close: async () => undefined,
  };
}

function ioOf({ isTTY = false, stepMs = 0 } = {}) {
  const written: string[] = [];
  let now = 0;
  const stdout = { isTTY, write: (text: string) => written.push(text) };
  const io = { env: { NO_COLOR: "1" }, stdout, now: () => (now += stepMs) } as unknown as CommandIo;
  return { io, text: () => written.join(""), written };
}

async function listed(
  events: Parameters<typeof recordsOf>[0],
  options: Readonly<Record<string, unknown>> = {},
  isTTY = false,
) {
  const { io, text } = ioOf({ isTTY });
  await listNats(io, new Input([], { job: "7712", ...options }), operatorOf(recordsOf(events)));
  return text();
}

const connected = { kind: "nats.connected", data: natsData.connected } as const;
const ofMessages = (first: number, count: number, subject?: string) =>
  ({ kind: "nats.published", data: published(first, messages(first, count, subject)) }) as const;
const close = (sent: number, more = {}) =>
  ({ kind: "nats.disconnected", data: disconnected({ messages: sent, bytes: sent * 128 }, more) }) as const;

describe("a job's traffic", () => {
  test("is every message with its number, size, role and subject", async () => {
    const text = await listed([connected, ofMessages(1, 2), ofMessages(3, 1), close(3)]);
    expect(text.match(/^09:30:13.010 {2}pub .*$/gm)).toEqual([
      "09:30:13.010  pub             1        128  publish-status  build.status.1042.1",
      "09:30:13.010  pub             2        128  publish-status  build.status.1042.2",
    ]);
    expect(text).toContain(`session ${session}  acme/shop release #7712  2026-11-24 (UTC)\n`);
    expect(text).toContain("every message published has its record");
    expect(text).toMatch(/\n1 connection: 3 published, 0 delivered, 0 denied\n$/);
  });

  test("is as long as there are messages, whatever the records hold", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 }), async (sizes) => {
        let first = 1;
        const events = sizes.map((size) => {
          const event = ofMessages(first, size);
          first += size;
          return event;
        });
        const text = await listed([connected, ...events, close(first - 1)]);
        expect(text.match(/ pub /g)).toHaveLength(first - 1);
        expect(text).not.toMatch(/MISSING|its records have/);
      }),
    );
  });

  test.each([
    {
      what: "in the middle",
      events: [connected, ofMessages(1, 2), ofMessages(5, 1)],
      says: "messages 3 to 4: no record",
    },
    { what: "at the beginning", events: [connected, ofMessages(2, 2)], says: "message 1: no record" },
    { what: "twice", events: [connected, ofMessages(1, 3), ofMessages(3, 1)], says: "message 3: no record" },
    {
      what: "at the end",
      events: [connected, ofMessages(1, 2), close(3)],
      says: "its records have 2 (256 bytes) published",
    },
    {
      what: "in size",
      events: [connected, ofMessages(1, 2), close(2, { published: { messages: 2, bytes: 3 } })],
      says: "its records have 2 (256 bytes) published",
    },
  ])("says what is wrong $what", async ({ events, says }) => {
    expect(await listed(events)).toContain(says);
  });

  test("says once why it ended, in the gateway's words where there are any", async () => {
    expect(await listed([connected, close(0)])).toMatch(/close {4,}client closed; 0 \(0 bytes\) published/);
    const text = await listed([connected, close(0, { detail: "session ended: job finished 0 s ago" })]);
    expect(text).toMatch(/close {4,}session ended: job finished 0 s ago; 0 \(0 bytes\) published/);
    expect(text).not.toContain("client closed");
  });

  test("over a direct connection is said to be unrecorded, not to be nothing", async () => {
    const direct = { kind: "nats.connected", data: { ...natsData.connected, mode: "direct" } } as const;
    expect(await listed([direct])).toMatch(/0 denied\nnot recorded: what came over 1 direct connection\n$/);
    expect(await listed([connected, close(0)])).not.toContain("not recorded");
  });

  test("that is read from its middle is not blamed for what came before", async () => {
    const text = await listed([ofMessages(100, 2), close(101)], { since: "2026-11-24T09:00:00Z" });
    expect(text).not.toMatch(/MISSING|its records have/);
    expect(text).toContain("read in part only");
  });

  const counts = (messages: number) => ({ messages, bytes: messages * 128 });
  test.each([
    { server: { received: counts(2), sent: counts(0) }, says: "the server counted the same" },
    {
      server: { received: counts(3), sent: counts(0) },
      says: "the server counted 3 (384 bytes) published, 0 (0 bytes)",
    },
    {
      server: { received: counts(2), sent: counts(1) },
      says: "the server counted 2 (256 bytes) published, 1 (128 bytes)",
    },
    { server: undefined, says: "the server's own counts are not known" },
  ])("at its end: $says", async ({ server, says }) => {
    const text = await listed([connected, ofMessages(1, 2), close(2, server === undefined ? {} : { server })]);
    expect(text.replaceAll(/\s+/g, " ")).toContain(says);
  });

  test("includes what was denied over NATS, and nothing that was denied elsewhere", async () => {
    const text = await listed([
      connected,
      { kind: "decision", data: denied },
      { kind: "decision", data: { ...denied, outcome: "would_deny", operation: "sub deploy.>" } },
      { kind: "decision", data: { ...denied, effect: "allow", outcome: "allow" } },
      { kind: "decision", data: { ...denied, operation: "POST /v1/releases" } },
    ]);
    expect(text).toMatch(
      /DENIED .* pub deploy\.events\.prod {2}no_role\n.*observed .* sub deploy\.> {2}no_role, let through\n\n/,
    );
    expect(text).toMatch(/0 delivered, 1 denied\n$/);
  });

  test("is folded only when asked, and only what is alike", async () => {
    const events = [connected, ofMessages(1, 3, "build.a"), ofMessages(4, 2, "build.a"), ofMessages(6, 1, "build.b")];
    expect((await listed(events)).match(/ pub /g)).toHaveLength(6);
    const folded = await listed(events, { fold: true });
    expect(folded.match(/ pub .*$/gm)).toEqual([
      " pub             1        640  publish-status  build.a ×5",
      " pub             6        128  publish-status  build.b",
    ]);
    expect(folded).toContain("6 published");
  });

  test("with --json is one object a line", async () => {
    const text = await listed([connected, ofMessages(1, 1), close(1)], { json: true });
    const rows = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(rows.map(({ type }) => type)).toEqual(["connected", "published", "disconnected"]);
    expect(rows[1]).toEqual({
      type: "published",
      time: "2026-11-24T09:30:13.010Z",
      record: "rec_abcd00000002",
      session,
      connection: place.connection,
      number: 1,
      role: "publish-status",
      subject: "build.status.1042.1",
      headers: 0,
      payload: 128,
    });
    expect(rows[2]).toMatchObject({ recorded: { messages: 1, bytes: 128 } });
  });

  test("never wraps on a terminal, and does not steer it", async () => {
    const long = "x".repeat(300);
    const hostile = { ...natsData.connected, client: { name: `\u001b[2J${long}`, lang: "\u202e" } };
    const events = [
      { kind: "nats.connected", data: hostile },
      { kind: "nats.connected", data: { ...natsData.connected, connection: "nc_bbbbbbbbbbbbbbbb" } },
      ofMessages(1, 1, `a.${long}\u001b[2J`),
      {
        kind: "nats.subscribed",
        data: { ...natsData.subscribed, sid: "\u001b]0;", subject: `a.${long}`, queue: long },
      },
      { kind: "nats.refused", data: { gateway: "nats-1", code: "nats_protocol", detail: `${long} \u0007` } },
      close(1),
    ] as Parameters<typeof recordsOf>[0];
    const text = await listed(events, {}, true);
    expect(text.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    const lines = text.split("\n").filter((line) => line.includes("pub") || line.includes("sub "));
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(lineWidth);
  });

  test("is written in pieces, not in lines", async () => {
    const { io, written } = ioOf();
    const records = recordsOf([connected, ofMessages(1, 2000), ofMessages(2001, 2000)]);
    await listNats(io, new Input([], { session }), operatorOf(records));
    expect(written.length).toBeLessThan(20);
  });

  test("of nobody is refused, and of one who did nothing says so", async () => {
    const { io } = ioOf();
    await expect(listNats(io, new Input([], {}), operatorOf([]))).rejects.toMatchObject({ code: "invalid_request" });
    expect(await listed([])).toBe("nothing over NATS\n");
  });
});

describe("a list of records", () => {
  test("with --json has as many as were asked for, though the broker answers with fewer at a time", async () => {
    const records = recordsOf([ofMessages(1, 3), ofMessages(4, 2), ofMessages(6, 1)]).toReversed();
    const asked: string[] = [];
    const { io, text } = ioOf();
    const get = async <T>(path: string) => {
      asked.push(path);
      const before = new URLSearchParams(path.split("?")[1]).get("before") ?? "rec_zzzzzzzzzzzz";
      return { records: records.filter(({ id }) => id < before).slice(0, 1) } as T;
    };
    await listRecords(io, new Input([], { limit: "2", json: true }), { ...operatorOf([]), get });
    expect(JSON.parse(text())).toEqual({ records: records.slice(0, 2) });
    expect(asked).toEqual(["/v1/records?limit=2", "/v1/records?before=rec_abcd00000003&limit=1"]);
  });

  test("tells of messages that were left out where they begin", async () => {
    const [long] = recordsOf([{ kind: "nats.published", data: { ...published(7, []), messages: [] } }]);
    const { io, text } = ioOf();
    await listRecords(io, new Input([], {}), { ...operatorOf([]), get: async <T>() => ({ records: [long] }) as T });
    expect(text()).toContain("nats.published  messages from number 7 on  events");
  });
});

describe("who published to a subject", () => {
  const records = recordsOf([ofMessages(1, 3, "build.a"), ofMessages(4, 2, "build.b"), ofMessages(6, 1, "deploy.a")]);

  async function who(subject: string, options = {}, stepMs = 0) {
    const asked: string[] = [];
    const { io, text } = ioOf({ stepMs });
    await listSubject(io, new Input([], options), operatorOf(records, asked), subject);
    return { text: text(), asked };
  }

  test("is told newest first, with job and record", async () => {
    const { text, asked } = await who("build.*");
    expect(text).toBe(
      `2026-11-24 09:30:13  rec_abcd00000002  acme/shop release #7712  build.b ×2
2026-11-24 09:30:13  rec_abcd00000001  acme/shop release #7712  build.a ×3
`,
    );
    expect(asked[0]).toBe("/v1/records?limit=1000&subject=build.*");
    expect(asked).toHaveLength(3);
  });

  test("says where it stopped, and goes on there", async () => {
    const { text } = await who("build.*", { limit: "1" });
    expect(text).toContain("build.b ×2\n");
    expect(text).toContain("Go on with --before rec_abcd00000002\n");
    const { text: rest } = await who("build.*", { limit: "1", before: "rec_abcd00000002" });
    expect(rest).toContain("build.a ×3\n");
  });

  test("looks no longer than ten seconds, and says so", async () => {
    const { text, asked } = await who("nothing.at.all", {}, 11_000);
    expect(asked).toHaveLength(1);
    expect(text).toMatch(/^nobody published to it\nOlder records were not looked at: .* --before rec_abcd00000002\n$/);
  });

  test("is nobody", async () => {
    expect((await who("nothing.at.all")).text).toBe("nobody published to it\n");
  });

  test.each(["0", "x", "-1", "1.5"])("is not asked with --limit %s", async (limit) => {
    await expect(who("build.*", { limit })).rejects.toMatchObject({ code: "invalid_request" });
  });

  test("with --json comes as data", async () => {
    const { text } = await who("deploy.a", { json: true });
    expect(JSON.parse(text)).toEqual({
      messages: [
        {
          record: "rec_abcd00000003",
          time: "2026-11-24T09:30:13.020Z",
          session,
          job,
          gateway: "nats-1",
          connection: place.connection,
          target: "events",
          account: "CI",
          subject: "deploy.a",
          first: 6,
          last: 6,
          messages: 1,
          bytes: 128,
        },
      ],
    });
  });
});
