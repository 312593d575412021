import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ClientReader } from "./client-reader.ts";
import { HeaderCleaner } from "./header-block.ts";
import { identityGrowth, identityLines, OpWriter } from "./op-writer.ts";
import { ServerReader } from "./server-reader.ts";
import { limits, readClient, readServer, ToldOps } from "./wire.fake.ts";

const identity = identityLines("gitlab acme/shop job 42", "nc_0123456789abcdef");
const ours = (number: number) =>
  `NATS/1.0\r\nWayleave-Job: gitlab acme/shop job 42\r\nWayleave-Message: nc_0123456789abcdef.${number}\r\n`;

/** The client's words, read, and written for the server. */
function forward(chunks: readonly Buffer[]) {
  const writer = new OpWriter();
  const cleaner = new HeaderCleaner({ prefix: "p" });
  const sizes: { headerBytes: number; totalBytes: number }[] = [];
  const ops = new ToldOps();
  const told = ops.publish.bind(ops);
  ops.publish = (op) => {
    told(op);
    const headers = op.headerEnd > op.headerStart;
    if (headers) expect(cleaner.clean(op.buffer, op.headerStart, op.headerEnd)).toBeUndefined();
    sizes.push({
      ...writer.publish(op, op.subject, op.reply, identity, sizes.length + 1, headers ? cleaner.lines : undefined),
    });
  };
  ops.subscribe = (subject, queue, sid) => {
    ops.told.push(["subscribe", subject, queue, sid]);
    writer.subscribe(subject, queue, sid);
  };
  ops.unsubscribe = (sid, max) => {
    ops.told.push(["unsubscribe", sid, max]);
    writer.unsubscribe(sid, max);
  };
  const reader = new ClientReader(ops, limits);
  for (const chunk of chunks) reader.push(chunk);
  return { told: ops.told, sizes, sent: writer.take() };
}

test("a message becomes HPUB with our headers first", () => {
  const { sent, sizes } = forward([
    Buffer.from("PUB a.b r.1 5\r\nhello\r\nHPUB a  22 24\r\nNATS/1.0\r\nA: b\r\nC:d\r\n\r\n".replace("22 24", "23 25")),
    Buffer.from("hi\r\n"),
  ]);
  const first = `${ours(1)}\r\n`;
  const second = `${ours(2)}A: b\r\nC:d\r\n\r\n`;
  expect(sent.toString()).toBe(
    `HPUB a.b r.1 ${first.length} ${first.length + 5}\r\n${first}hello\r\nHPUB a ${second.length} ${second.length + 2}\r\n${second}hi\r\n`,
  );
  expect(sizes).toEqual([
    { headerBytes: first.length, totalBytes: first.length + 5 },
    { headerBytes: second.length, totalBytes: second.length + 2 },
  ]);
});

const subject = fc.stringMatching(/^[!-)+-\-/-=?-~]{1,8}(\.[!-)+-\-/-=?-~]{1,8}){0,3}$/);
const payload = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString("latin1"));
const headers = fc.array(
  fc.tuple(fc.stringMatching(/^X[0-9A-Za-z-]{0,9}$/), fc.stringMatching(/^( ?[!-~é][ -~é]{0,20})?$/)),
  { maxLength: 4 },
);
const publish = fc
  .tuple(subject, fc.oneof(fc.constant(""), subject), fc.option(headers), payload)
  .map(([subject, reply, lines, payload]) => {
    const words = `${subject} ${reply}${reply === "" ? "" : " "}`;
    if (lines === null) return `PUB ${words}${payload.length}\r\n${payload}\r\n`;
    const text = lines.map(([name, value]) => `${name}:${value}\r\n`).join("");
    const block = Buffer.from(`NATS/1.0\r\n${text}\r\n`).toString("latin1");
    return `HPUB ${words}${block.length} ${block.length + payload.length}\r\n${block}${payload}\r\n`;
  });
const operation = fc.oneof(
  { weight: 4, arbitrary: publish },
  fc.constantFrom("SUB a.* q 1\r\n", "SUB >  2\r\n", "UNSUB 1 \r\n", "UNSUB 2 5\r\n"),
);

test("what is written is read again as the same operations, with our headers and the sizes that were told", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 8 }), fc.nat(), (operations, place) => {
      const wire = Buffer.from(operations.join(""), "latin1");
      const at = place % (wire.length + 1);
      const { told, sizes, sent } = forward([wire.subarray(0, at), wire.subarray(at)]);
      expect(told).toHaveLength(operations.length);
      let number = 0;
      const expected = told.map((one) => {
        if (one[0] !== "publish") return one;
        const [name, subject, reply, block = "", payload] = one;
        const lines = String(block).slice("NATS/1.0\r\n".length, -2);
        return [name, subject, reply, `${ours(++number)}${lines}\r\n`, payload];
      });
      expect(readClient([sent])).toEqual(expected);
      const published = expected.filter(([name]) => name === "publish");
      expect(sizes).toEqual(
        published.map(([, , , block, payload]) => {
          const headerBytes = String(block).length;
          return { headerBytes, totalBytes: headerBytes + String(payload).length };
        }),
      );
    }),
    { numRuns: 300 },
  );
});

const word = fc.stringMatching(/^[!-~é€😀]{1,6}$/u);

test("messages of the server reach the client as they came", () => {
  const message = fc.tuple(
    word,
    fc.stringMatching(/^[1-9a-z]{1,5}$/),
    fc.oneof(fc.constant(""), word),
    payload,
    payload,
  );
  fc.assert(
    fc.property(fc.array(message, { maxLength: 6 }), (messages) => {
      const wire = messages.map(([subject, sid, reply, block, payload]) => {
        const sizes = block === "" ? "" : `${block.length} `;
        const head = `${block === "" ? "MSG" : "HMSG"} ${subject} ${sid} ${reply === "" ? "" : `${reply} `}`;
        const body = Buffer.from(`${block}${payload}\r\n`, "latin1");
        return Buffer.concat([Buffer.from(`${head}${sizes}${block.length + payload.length}\r\n`), body]);
      });
      const ops = new ToldOps();
      const writer = new OpWriter();
      const told = ops.message.bind(ops);
      ops.message = (op) => {
        told(op);
        writer.message(op, op.subject, op.reply);
      };
      new ServerReader(ops, limits).push(Buffer.concat(wire));
      expect(ops.told).toEqual(messages.map((words) => ["message", ...words]));
      const sent = writer.take();
      expect(sent).toEqual(Buffer.concat(wire));
      expect(readServer([sent])).toEqual(ops.told);
    }),
    { numRuns: 300 },
  );
});

test("what was taken never changes, however much is written after it", () => {
  const writer = new OpWriter();
  const taken: { bytes: Buffer; text: string }[] = [];
  const op = { subject: "", reply: "", headerStart: 0, headerEnd: 0, payloadEnd: 0, buffer: Buffer.alloc(70_000, "p") };
  for (let at = 0; at < 500; at++) {
    for (let n = 0; n <= at % 7; n++) {
      op.payloadEnd = (at * 7919) % (at % 50 === 0 ? 70_000 : 900);
      writer.publish(op, `s.${at}`, "", identity, at);
      writer.ping();
    }
    const waiting = writer.length;
    const bytes = writer.take();
    expect(bytes).toHaveLength(waiting);
    expect(writer.length).toBe(0);
    taken.push({ bytes, text: bytes.toString("latin1") });
  }
  for (const { bytes, text } of taken) expect(bytes.toString("latin1")).toBe(text);
  expect(
    readClient(
      taken.map(({ bytes }) => bytes),
      { maxLine: 4096, maxPayload: 100_000 },
    ).at(-1),
  ).toEqual(["ping"]);
});

test("lines of our own", () => {
  const writer = new OpWriter();
  writer.ok();
  writer.error("it's\r\nPING\r\nover");
  writer.ping();
  writer.pong();
  expect(writer.take().toString()).toBe(`+OK\r\n-ERR 'it"s PING over'\r\nPING\r\nPONG\r\n`);
  writer.connect('{"auth_token":"t"}');
  writer.subscribe("a.>", "", "1");
  writer.subscribe("a.>", "q", "2");
  writer.unsubscribe("1", 0);
  writer.unsubscribe("2", 9);
  const lines = `CONNECT {"auth_token":"t"}\r\nSUB a.> 1\r\nSUB a.> q 2\r\nUNSUB 1\r\nUNSUB 2 9\r\n`;
  expect(writer.take().toString()).toBe(lines);
  expect(writer.take()).toHaveLength(0);
});

test("the largest number is counted in the growth", () => {
  const writer = new OpWriter();
  const op = { subject: "", reply: "", headerStart: 0, headerEnd: 0, payloadEnd: 0, buffer: Buffer.alloc(0) };
  for (const number of [1, 9, 10, 999, 1000, 10 ** 9, Number.MAX_SAFE_INTEGER]) {
    const { totalBytes } = writer.publish(op, "a", "", identity, number);
    expect(totalBytes).toBeLessThanOrEqual(identityGrowth(identity));
    expect(writer.take().toString()).toBe(`HPUB a ${totalBytes} ${totalBytes}\r\n${ours(number)}\r\n\r\n`);
  }
});

describe("a word that would break its line is a TypeError, and nothing of it is sent", () => {
  const op = { subject: "", reply: "", headerStart: 0, headerEnd: 0, payloadEnd: 0, buffer: Buffer.alloc(0) };
  test.each(["", " ", "a b", "a\r\nPING", "a\n", "\t", "\0", "\x7f", "é\r\nPING\r\n", "é b"])("%j", (bad) => {
    const writer = new OpWriter();
    writer.ping();
    expect(() => writer.publish(op, bad, "", identity, 1)).toThrow(TypeError);
    if (bad !== "") expect(() => writer.publish(op, "a", bad, identity, 1)).toThrow(TypeError);
    expect(() => writer.message({ ...op, sid: bad }, "a", "")).toThrow(TypeError);
    expect(() => writer.subscribe(bad, "", "1")).toThrow(TypeError);
    if (bad !== "") expect(() => writer.subscribe("a", bad, "1")).toThrow(TypeError);
    expect(() => writer.subscribe("a", "", bad)).toThrow(TypeError);
    expect(() => writer.unsubscribe(bad, 0)).toThrow(TypeError);
    expect(() => writer.connect(`{"a":"${bad}\n"}`)).toThrow(TypeError);
    expect(() => identityLines("job", `nc ${bad}`)).toThrow(TypeError);
    expect(writer.take().toString()).toBe("PING\r\n");
  });
  test.each(["", "a\r\nb", "a\nb", "é", "\t"])("identity %j", (bad) => {
    expect(() => identityLines(bad, "nc_1")).toThrow(TypeError);
  });
});
