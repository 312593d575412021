import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ClientReader } from "./client-reader.ts";
import { cutAt, limits, readClient, ToldOps } from "./wire.fake.ts";
import type { ClientOps } from "./wire.ts";

const hello = `NATS/1.0\r\nA: b\r\n\r\n`;
const long = "s".repeat(1024);

describe("taken", () => {
  test.each([
    ['CONNECT {"verbose":false}\r\n', ["connect", '{"verbose":false}']],
    ['CONNECT {"name":"\xc3\xa9"}\r\n', ["connect", '{"name":"é"}']],
    ["PUB a 5\r\nhello\r\n", ["publish", "a", "", "", "hello"]],
    ["PUB a.b-c_d.$E/!~ 0\r\n\r\n", ["publish", "a.b-c_d.$E/!~", "", "", ""]],
    ["PUB a b.c 5\r\nhello\r\n", ["publish", "a", "b.c", "", "hello"]],
    ["PUB a 7 5\r\nhello\r\n", ["publish", "a", "7", "", "hello"]],
    ["PUB a 07 5\r\nhello\r\n", ["publish", "a", "07", "", "hello"]],
    ["PUB a  5\r\nhello\r\n", ["publish", "a", "", "", "hello"]],
    ["PUB 5 5\r\n\0\r\n\xff\x80\r\n", ["publish", "5", "", "", "\0\r\n\xff\x80"]],
    [`PUB ${long} ${long} 0\r\n\r\n`, ["publish", long, long, "", ""]],
    [`HPUB a 18 18\r\n${hello}\r\n`, ["publish", "a", "", hello, ""]],
    [`HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n`, ["publish", "a", "", "NATS/1.0\r\n\r\n", "hi"]],
    ["HPUB a b 0 5\r\nhello\r\n", ["publish", "a", "b", "", "hello"]],
    [`HPUB a b 18 20\r\n${hello}hi\r\n`, ["publish", "a", "b", hello, "hi"]],
    [`HPUB a  18 20\r\n${hello}hi\r\n`, ["publish", "a", "", hello, "hi"]],
    [`HPUB a 1 18 20\r\n${hello}hi\r\n`, ["publish", "a", "1", hello, "hi"]],
    ["SUB a.*.c 1\r\n", ["subscribe", "a.*.c", "", "1"]],
    ["SUB > workers.eu A-1_b\r\n", ["subscribe", ">", "workers.eu", "A-1_b"]],
    ["SUB a.>  1\r\n", ["subscribe", "a.>", "", "1"]],
    ["UNSUB 1\r\n", ["unsubscribe", "1", 0]],
    ["UNSUB 1 \r\n", ["unsubscribe", "1", 0]],
    ["UNSUB 1 0\r\n", ["unsubscribe", "1", 0]],
    ["UNSUB 1 20\r\n", ["unsubscribe", "1", 20]],
    ["PING\r\n", ["ping"]],
    ["PONG\r\n", ["pong"]],
  ])("%j", (wire, told) => {
    expect(readClient([wire])).toEqual([told]);
  });

  test("one stream, however it is split: each byte alone, and at every place in two", () => {
    const wire = `CONNECT {}\r\nPUB a r 5\r\nhello\r\nPUB a 0\r\n\r\nHPUB b 18 20\r\n${hello}hi\r\nSUB a q 1\r\nUNSUB 1 2\r\nPING\r\n`;
    const whole = readClient([wire]);
    expect(whole).toHaveLength(7);
    expect(readClient([...wire])).toEqual(whole);
    for (let at = 0; at <= wire.length; at++) expect(readClient([wire.slice(0, at), wire.slice(at)])).toEqual(whole);
  });

  test("as many headers as are allowed", () => {
    const headers = `NATS/1.0\r\n${"A: b\r\n".repeat(256)}\r\n`;
    const wire = `HPUB a ${headers.length} ${headers.length}\r\n${headers}\r\n`;
    expect(readClient([wire])).toEqual([["publish", "a", "", headers, ""]]);
  });

  test("a line and a payload of exactly the limit", () => {
    const within = { maxLine: 20, maxPayload: 4 };
    expect(readClient([`PUB ${"a".repeat(14)} 4\r\n1234\r\n`], within)).toEqual([
      ["publish", "a".repeat(14), "", "", "1234"],
    ]);
  });
});

const malformed = "operation_malformed";

describe("refused", () => {
  test.each([
    // Operations
    ["an empty line", "\r\n", "operation_unknown"],
    ["lower case", "pub a 0\r\n\r\n", "operation_unknown"],
    ["mixed case", "Pub a 0\r\n\r\n", "operation_unknown"],
    ["lower case PING", "ping\r\n", "operation_unknown"],
    ["a space before", " PING\r\n", "operation_unknown"],
    ["a space after", "PING \r\n", "operation_unknown"],
    ["an argument to PING", "PING 1\r\n", "operation_unknown"],
    ["two in one word", "PINGPONG\r\n", "operation_unknown"],
    ["half a word", "PIN\r\n", "operation_unknown"],
    ["the server's INFO", "INFO {}\r\n", "operation_unknown"],
    ["the server's MSG", "MSG a 1 0\r\n\r\n", "operation_unknown"],
    ["a route's RMSG", "RMSG a a 0\r\n\r\n", "operation_unknown"],
    ["a leaf node's LMSG", "LMSG a 0\r\n\r\n", "operation_unknown"],
    ["a route's account operation", "A+ a\r\n", "operation_unknown"],
    ["+OK", "+OK\r\n", "operation_unknown"],
    ["-ERR", "-ERR 'x'\r\n", "operation_unknown"],
    ["HTTP", "GET / HTTP/1.1\r\n", "operation_unknown"],
    ["an operation without arguments", "PUB\r\n", "operation_unknown"],
    ["a tab after the operation", "PUB\ta 0\r\n\r\n", "operation_unknown"],
    // Line ends
    ["LF alone", "PING\n", malformed],
    ["CR alone before the next line", "PING\rPING\r\n", "operation_unknown"],
    ["CR CR LF", "PING\r\r\n", "operation_unknown"],
    ["LF CR", "PING\n\r", malformed],
    ["nothing but LF", "\n", malformed],
    ["CR within a line", "SUB a\r b 1\r\n", "subject_invalid"],
    // Words
    ["two spaces after PUB", "PUB  a 0\r\n\r\n", "subject_invalid"],
    ["three spaces for a reply left out", "PUB a   0\r\n\r\n", malformed],
    ["a space after the size", "PUB a 0 \r\n\r\n", malformed],
    ["a tab between", "PUB a\t0\r\n\r\n", "subject_invalid"],
    ["a tab before the size", "PUB a \t0\r\n\r\n", "subject_invalid"],
    ["no size", "PUB a\r\n\r\n", malformed],
    ["a reply and no size", "PUB a b\r\n\r\n", malformed],
    ["four words", "PUB a b c 0\r\n\r\n", malformed],
    ["two sizes", "PUB a b 0 0\r\n\r\n", malformed],
    ["no total", `HPUB a 18\r\n${hello}\r\n`, malformed],
    ["five words", "HPUB a b c 12 12\r\n", malformed],
    ["a reply with a space twice", "PUB a  b 0\r\n\r\n", malformed],
    // Sizes
    ["a leading zero", "PUB a 05\r\nhello\r\n", malformed],
    ["a plus", "PUB a +5\r\nhello\r\n", malformed],
    ["a minus", "PUB a -1\r\n\r\n", malformed],
    ["hexadecimal", "PUB a 0x5\r\nhello\r\n", malformed],
    ["a fraction", "PUB a 5.0\r\nhello\r\n", malformed],
    ["an exponent", "PUB a 5e0\r\nhello\r\n", malformed],
    ["digits of another script", "PUB a \xd9\xa5\r\nhello\r\n", "subject_invalid"],
    ["2^32", "PUB a 4294967296\r\n", "payload_too_large"],
    ["2^53", "PUB a 9007199254740992\r\n", malformed],
    ["2^64 + 5", "PUB a 18446744073709551621\r\nhello\r\n", malformed],
    ["a byte too many", "PUB a 65537\r\n", "payload_too_large"],
    ["headers and payload too many", `HPUB a 18 65537\r\n${hello}`, "payload_too_large"],
    ["a size too small", "PUB a 4\r\nhello\r\n", malformed],
    ["a size too large", "PUB a 6\r\nhello\r\nPING\r\n", malformed],
    ["LF after the payload, judged by the byte that follows", "PUB a 5\r\nhello\n", malformed],
    ["LF after the payload, then more", "PUB a 5\r\nhello\nPING\r\n", malformed],
    ["CR after the payload, then more", "PUB a 5\r\nhello\rPING\r\n", malformed],
    ["blanks after the payload", "PUB a 5\r\nhello \r\n", malformed],
    // Subjects
    ["a wildcard in a message's", "PUB a.* 0\r\n\r\n", "subject_invalid"],
    ["a tail wildcard in a message's", "PUB a.> 0\r\n\r\n", "subject_invalid"],
    ["a wildcard within a token", "PUB a*b 0\r\n\r\n", "subject_invalid"],
    ["a wildcard in a reply", "PUB a b.* 0\r\n\r\n", "subject_invalid"],
    ["a tail wildcard in a reply", "PUB a > 0\r\n\r\n", "subject_invalid"],
    ["an empty token first", "PUB .a 0\r\n\r\n", "subject_invalid"],
    ["an empty token last", "PUB a. 0\r\n\r\n", "subject_invalid"],
    ["an empty token between", "PUB a..b 0\r\n\r\n", "subject_invalid"],
    ["an empty token last in a reply", "PUB a b. 0\r\n\r\n", "subject_invalid"],
    ["a NUL", "PUB a\0b 0\r\n\r\n", "subject_invalid"],
    ["DEL", "PUB a\x7f 0\r\n\r\n", "subject_invalid"],
    ["UTF-8", "PUB caf\xc3\xa9 0\r\n\r\n", "subject_invalid"],
    ["not UTF-8", "PUB \xff 0\r\n\r\n", "subject_invalid"],
    ["a character too many", `PUB ${long}s 0\r\n\r\n`, "subject_invalid"],
    ["a character too many in a reply", `PUB a ${long}s 0\r\n\r\n`, "subject_invalid"],
    ["a message's subject that looks like a size", "PUB 5\r\nhello\r\n", malformed],
    ["> in the middle of a subscription's", "SUB a.>.b 1\r\n", "subject_invalid"],
    ["> within a token", "SUB a.b> 1\r\n", "subject_invalid"],
    ["* within a token", "SUB a.b* 1\r\n", "subject_invalid"],
    ["** in a subscription", "SUB a.** 1\r\n", "subject_invalid"],
    [">> in a subscription", "SUB >> 1\r\n", "subject_invalid"],
    ["an empty token in a subscription", "SUB a..> 1\r\n", "subject_invalid"],
    ["a control character in a subscription", "SUB a\x01 1\r\n", "subject_invalid"],
    ["a tab in a subscription", "SUB a\t1\r\n", "subject_invalid"],
    // SUB, UNSUB, CONNECT
    ["no sid", "SUB a\r\n", malformed],
    ["an empty sid", "SUB a q \r\n", malformed],
    ["a space too many", "SUB a q  1\r\n", malformed],
    ["a space after the sid", "SUB a q 1 \r\n", malformed],
    ["a queue that is a wildcard", "SUB a > 1\r\n", malformed],
    ["a queue with a control character", "SUB a q\x01 1\r\n", malformed],
    ["a queue that is too long", `SUB a ${"q".repeat(129)} 1\r\n`, malformed],
    ["a sid with a dot", "SUB a 1.2\r\n", malformed],
    ["a sid in UTF-8", "SUB a \xc3\xa9\r\n", malformed],
    ["a sid that is too long", `SUB a ${"1".repeat(65)}\r\n`, malformed],
    ["UNSUB without a sid", "UNSUB \r\n", malformed],
    ["UNSUB with a negative number", "UNSUB 1 -1\r\n", malformed],
    ["UNSUB with a leading zero", "UNSUB 1 01\r\n", malformed],
    ["UNSUB with a huge number", "UNSUB 1 9999999999999999\r\n", malformed],
    ["UNSUB with three words", "UNSUB 1 2 3\r\n", malformed],
    ["CONNECT without JSON", "CONNECT \r\n", malformed],
    ["CONNECT with a list", "CONNECT []\r\n", malformed],
    ["CONNECT with something behind", "CONNECT {} x\r\n", malformed],
    ["CONNECT with two spaces", "CONNECT  {}\r\n", malformed],
    ["CONNECT with a tab in it", 'CONNECT {\t"a":1}\r\n', malformed],
    ["CONNECT with a CR in it", 'CONNECT {\r"a":1}\r\n', malformed],
    ["CONNECT that is not UTF-8", 'CONNECT {"a":"\xff"}\r\n', malformed],
    ["CONNECT with a NUL", 'CONNECT {"a":"\0"}\r\n', malformed],
  ])("%s: %j", (_, wire, code) => {
    const told = readClient([`PONG\r\n${wire}`, "PING\r\nPUB later 0\r\n\r\n"]);
    expect(told).toEqual([["pong"], ["violation", code]]);
  });

  test.each([
    ["fewer bytes than the smallest block", "HPUB a 11 11\r\nNATS/1.0\r\n\r\r\n"],
    ["more bytes than the message", `HPUB a 18 17\r\n${hello}\r\n`],
    ["another version", block("NATS/1.1\r\nA: b\r\n\r\n")],
    ["a lower-case version", block("nats/1.0\r\nA: b\r\n\r\n")],
    ["a status, which only the server gives", block("NATS/1.0 503\r\n\r\n")],
    ["a status with text", block("NATS/1.0 100 FlowControl Request\r\n\r\n")],
    ["a blank after the version", block("NATS/1.0 \r\nA: b\r\n\r\n")],
    ["LF after the version", block("NATS/1.0\nA: b\r\n\r\n")],
    ["no blank line", block("NATS/1.0\r\nA: bcd\r\n")],
    ["half a blank line", block("NATS/1.0\r\nA: bcd\r\n\r")],
    ["LF for a blank line", block("NATS/1.0\r\nA: bcd\r\n\n")],
    ["a blank line in the middle", block("NATS/1.0\r\nA: b\r\n\r\nC: d\r\n\r\n")],
    ["two blank lines", block("NATS/1.0\r\nA: b\r\n\r\n\r\n")],
    ["a size that cuts the block", `HPUB a 16 18\r\n${hello}\r\n`],
    ["a size that takes the payload in", `HPUB a 20 20\r\n${hello}hi\r\n`],
    ["a bare LF in a value", block("NATS/1.0\r\nA: b\nC: d\r\n\r\n")],
    ["a bare CR in a value", block("NATS/1.0\r\nA: b\rC: d\r\n\r\n")],
    ["a NUL in a value", block("NATS/1.0\r\nA: b\0\r\n\r\n")],
    ["a tab in a value", block("NATS/1.0\r\nA:\tb\r\n\r\n")],
    ["DEL in a value", block("NATS/1.0\r\nA: \x7f\r\n\r\n")],
    ["a value that is not UTF-8", block("NATS/1.0\r\nA: \xff\r\n\r\n")],
    ["no colon", block("NATS/1.0\r\nA b\r\n\r\n")],
    ["a blank before the colon", block("NATS/1.0\r\nA : b\r\n\r\n")],
    ["a blank before the name", block("NATS/1.0\r\n A: b\r\n\r\n")],
    ["a folded line", block("NATS/1.0\r\nA: b\r\n c\r\n\r\n")],
    ["an empty name", block("NATS/1.0\r\n: b\r\n\r\n")],
    ["a name with a quote", block('NATS/1.0\r\nA"b: c\r\n\r\n')],
    ["a name with a slash", block("NATS/1.0\r\nA/b: c\r\n\r\n")],
    ["a name with a NUL", block("NATS/1.0\r\nA\0: c\r\n\r\n")],
    ["a name that is not ASCII", block("NATS/1.0\r\ncaf\xc3\xa9: c\r\n\r\n")],
    ["257 of them", block(`NATS/1.0\r\n${"A: b\r\n".repeat(257)}\r\n`)],
    ["a Kelvin sign for a K", block("NATS/1.0\r\n\xe2\x84\xaaV: c\r\n\r\n")],
  ])("headers with %s", (_, wire) => {
    expect(readClient([wire, "PING\r\n"])).toEqual([["violation", "headers_malformed"]]);
  });

  function block(headers: string): string {
    return `HPUB a ${headers.length} ${headers.length + 2}\r\n${headers}hi\r\n`;
  }

  test("a line that is too long, before all of it is there", () => {
    const within = { maxLine: 20, maxPayload: 4 };
    expect(readClient(["P".repeat(22)], within)).toEqual([["violation", "line_too_long"]]);
    expect(readClient([..."P".repeat(22)], within)).toEqual([["violation", "line_too_long"]]);
    expect(readClient(["P".repeat(21)], within)).toEqual([]);
    expect(readClient([`PUB ${"a".repeat(15)} 4\r\n1234\r\n`], within)).toEqual([["violation", "line_too_long"]]);
  });

  test("headers that are too large, at their line", () => {
    expect(readClient(["HPUB a 61441 65536\r\n"])).toEqual([["violation", "headers_malformed"]]);
    expect(readClient(["HPUB a 61440 65536\r\n"])).toEqual([]);
  });

  test("a payload that is too large, at its line", () => {
    expect(readClient(["PUB a 5\r\n"], { maxLine: 20, maxPayload: 4 })).toEqual([["violation", "payload_too_large"]]);
  });

  test("a refusal names no byte of what was sent", () => {
    const details: string[] = [];
    const ops: ClientOps = new ToldOps();
    ops.violation = ({ detail }) => details.push(detail);
    for (const wire of [
      "CONNECT {wln_secret\r\n",
      "wln_secret\r\n",
      "PUB wln_secret. 0\r\n",
      "SUB a wln_secret? 1\r\n",
    ]) {
      new ClientReader(ops, limits).push(Buffer.from(wire));
    }
    expect(details).toHaveLength(4);
    expect(details.join("")).not.toContain("secret");
  });
});

test("after stop nothing is told, not even from the chunk that is being read", () => {
  const ops = new ToldOps();
  const reader = new ClientReader(ops, limits);
  ops.ping = () => reader.stop();
  reader.push(Buffer.from("PONG\r\nPING\r\nPONG\r\nnonsense\r\n"));
  reader.push(Buffer.from("PONG\r\n"));
  expect(ops.told).toEqual([["pong"]]);
});

const pieces = fc.constantFrom(
  "PUB a 5\r\nhello\r\n",
  "PUB a.b _INBOX.x 12\r\nPUB x 0\r\n\r\n\r\n",
  `HPUB a.b 18 20\r\n${hello}hi\r\n`,
  "SUB a.* q 1\r\n",
  "UNSUB 1 \r\n",
  "PING\r\n",
  "PONG\r\n",
  "PUB a ",
  "5\r\n",
  "\n",
  "\r",
  " ",
  "\t",
  "HPUB ",
  "NATS/1.0\r\n",
  "\r\n",
);
const stream = fc.array(fc.oneof({ weight: 8, arbitrary: pieces }, fc.string({ maxLength: 3 })), { maxLength: 12 });

test("where a stream is split changes nothing of what is told, the violation included", () => {
  fc.assert(
    fc.property(stream, fc.array(fc.nat(), { maxLength: 8 }), (parts, places) => {
      const wire = Buffer.from(parts.join("")).toString("latin1");
      const within = { maxLine: 40, maxPayload: 30 };
      const whole = readClient([wire], within);
      expect(readClient(cutAt(wire, places), within)).toEqual(whole);
      expect(readClient([...wire], within)).toEqual(whole);
      expect(whole.findIndex(([name]) => name === "violation")).toBeOneOf([-1, whole.length - 1]);
    }),
    { numRuns: 500 },
  );
});
