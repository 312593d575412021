import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HeaderCleaner } from "./header-block.ts";
import { headerGrowth, headerRule, headerRules } from "./header-rules.ts";

const prefix = "0123456789abcdef";

/** The lines that are sent for these, or why none are. */
function clean(lines: string, cleaner = new HeaderCleaner({ prefix })): string {
  const block = Buffer.from(`before NATS/1.0\r\n${lines}\r\nafter`);
  const violation = cleaner.clean(block, 7, block.length - 5);
  const { buffer, start, end } = cleaner.lines;
  if (violation === undefined) return buffer.toString("utf8", start, end);
  expect(start).toBe(end);
  return `${violation.code}: ${violation.detail}`;
}

describe("sent", () => {
  test.each([
    ["no header at all", "", ""],
    ["what means nothing to the server", "Content-Type: text/plain\r\nX: é\r\n", undefined],
    ["a name as it was given", "content-TYPE: a\r\n", undefined],
    ["a value that is empty", "A:\r\nB: \r\n", undefined],
    ["a value without a blank before it", "A:b\r\n", undefined],
    ["several of one name that means nothing", "A: 1\r\nA: 2\r\n", undefined],
    ["a value that looks like a header", "A: Nats-Rollup: all\r\n", undefined],
    ["blanks before a value, as one", "A:    b \r\n", "A: b \r\n"],
    [
      "a condition on the message's own stream",
      "Nats-Expected-Stream: S\r\nNats-Expected-Last-Sequence: 4\r\n",
      undefined,
    ],
    ["a condition on the message's own subject", "Nats-Expected-Last-Subject-Sequence: 4\r\n", undefined],
    ["a life of its own", "Nats-TTL: 1m\r\n", undefined],
    ["a count", "Nats-Incr: +1\r\n", undefined],
    ["an answer of a service", "Nats-Service-Error: x\r\nNats-Service-Error-Code: 400\r\n", undefined],
    ["a key that is deleted", "KV-Operation: DEL\r\n", undefined],
    [
      "names that only begin alike",
      "Native: 1\r\nWay: 2\r\ntrace: 3\r\nNatsy-Rollup: 4\r\ntracestate: 5\r\n",
      undefined,
    ],
    ["an id with the session's prefix", "Nats-Msg-Id: 7\r\n", `Nats-Msg-Id: ${prefix}:7\r\n`],
    ["one that tries another session's", "Nats-Msg-Id: other:7\r\n", `Nats-Msg-Id: ${prefix}:other:7\r\n`],
    ["an id without a blank", "Nats-Msg-Id:7\r\n", `Nats-Msg-Id:${prefix}:7\r\n`],
    ["an id in another spelling", "nats_MSG.id:   7\r\n", `nats_MSG.id: ${prefix}:7\r\n`],
    ["an empty id, which is none", "Nats-Msg-Id:   \r\n", "Nats-Msg-Id: \r\n"],
    ["an id that is expected", "Nats-Expected-Last-Msg-Id: 7\r\n", `Nats-Expected-Last-Msg-Id: ${prefix}:7\r\n`],
    ["identity headers taken out", "Wayleave-Job: boss\r\nA: b\r\nwayleave_message: 1\r\n", "A: b\r\n"],
    ["who asks, taken out", 'Nats-Request-Info: {"user":"boss"}\r\nNATS.REQUEST_INFO: x\r\n', ""],
    [
      "traces taken out",
      "A: b\r\nNats-Trace-Dest: x\r\nNats-Trace-Only: 1\r\nnats-trace-hop: 2\r\nC: d\r\n",
      "A: b\r\nC: d\r\n",
    ],
    ["trace context taken out", "Traceparent: 00-1-2-01\r\ntraceparent: 00-1-2-00\r\n", ""],
  ])("%s", (_, lines, sent) => {
    expect(clean(lines)).toBe(sent ?? lines);
  });

  test("whatever the length, nothing is cut off where a block is rewritten", () => {
    const one = new HeaderCleaner({ prefix });
    for (let size = 0; size < 1200; size++) {
      const [lines, sent] = [`A:  ${"x".repeat(size)}\r\n`, `A: ${"x".repeat(size)}\r\n`];
      const wanted = `${sent}Nats-Msg-Id: ${prefix}:1\r\n`;
      expect(clean(`${lines}Nats-Msg-Id: 1\r\n`, one)).toBe(wanted);
      expect(clean(`${lines}Nats-Msg-Id: 1\r\n`)).toBe(wanted);
    }
  });

  test("every block in its own right, and no state between them", () => {
    const cleaner = new HeaderCleaner({ prefix });
    for (let round = 0; round < 3; round++) {
      expect(clean("Nats-Msg-Id: 1\r\n", cleaner)).toBe(`Nats-Msg-Id: ${prefix}:1\r\n`);
      expect(clean("A: b\r\n", cleaner)).toBe("A: b\r\n");
      expect(clean("Nats-Rollup: all\r\n", cleaner)).toMatch(/^header_refused/);
      const long = `A: ${"x".repeat(40_000)}\r\nNats-Msg-Id: 1\r\n`;
      expect(clean(long, cleaner)).toHaveLength(long.length + prefix.length + 1);
      for (let at = 0; at < 100; at++) expect(clean(`N${at}: b\r\n`, cleaner)).toBe(`N${at}: b\r\n`);
    }
  });
});

describe("refused", () => {
  test.each([
    ["Nats-Schedule: @at 2030-01-01T00:00:00Z", "Nats-Schedule"],
    ["Nats-Schedule-Target: deploy.prod", "Nats-Schedule-Target"],
    ["Nats-Schedule-Source: deploy.prod", "Nats-Schedule-Source"],
    ["Nats-Schedule-TTL: 1m", "Nats-Schedule-TTL"],
    ["Nats-Schedule-Rollup: sub", "Nats-Schedule-Rollup"],
    ["Nats-Schedule-Time-Zone: CET", "Nats-Schedule-Time-Zone"],
    ["Nats-Schedule-Next: purge", "Nats-Schedule-Next"],
    ["Nats-Scheduler: deploy.prod", "Nats-Scheduler"],
    ["Nats-Rollup: all", "Nats-Rollup"],
    ["Nats-Rollup: sub", "Nats-Rollup"],
    ["nats-rollup: all", "Nats-Rollup"],
    ["Nats_Rollup:all", "Nats-Rollup"],
    ["NATS.ROLLUP: all", "Nats-Rollup"],
    ["Nats-Batch-Id: 1", "Nats-Batch-Id"],
    ["Nats-Batch-Sequence: 1", "Nats-Batch-Sequence"],
    ["Nats-Batch-Commit: 1", "Nats-Batch-Commit"],
    ["Nats-Marker-Reason: Purge", "Nats-Marker-Reason"],
    ["Nats-Stream-Source: S 1", "Nats-Stream-Source"],
    ["Nats-Counter-Sources: {}", "Nats-Counter-Sources"],
    ["Nats-Response-Type: create", "Nats-Response-Type"],
    ["Nats-Expected-Last-Subject-Sequence-Subject: other", "Nats-Expected-Last-Subject-Sequence-Subject"],
    ["Nats-Subject: other", "Nats-Subject"],
    ["Nats-Pin-Id: 1", "Nats-Pin-Id"],
    ["Nats-Server-Xkey: X", "Nats-Server-Xkey"],
    ["Nats-Of-Next-Year: 1", "Nats-Of-Next-Year"],
    ["Nmqtt-Pub: 1", "Nmqtt-Pub"],
    ["Nmqtt-Subject: other", "Nmqtt-Subject"],
  ])("%s", (line, name) => {
    const refusal = clean(`A: b\r\nNats-Msg-Id: 1\r\n${line}\r\n`);
    expect(refusal.startsWith(`header_refused: header ${name} is refused: `)).toBe(true);
    expect(refusal).toMatch(/^[ -~]{40,240}$/);
    expect(clean(`${line}\r\n`)).toMatch(/^header_refused/);
  });

  test.each([
    ["an id twice", "Nats-Msg-Id: 1\r\nNats-Msg-Id: 1\r\n"],
    ["an id in two spellings", "Nats-Msg-Id: 1\r\nA: b\r\nnats_msg_id: 2\r\n"],
    ["an empty id and one", "Nats-Msg-Id:\r\nNats-Msg-Id: 1\r\n"],
    ["a stream twice", "Nats-Expected-Stream: A\r\nNats-Expected-Stream: B\r\n"],
    ["a life twice", "Nats-TTL: 1m\r\nNats-TTL: 2m\r\n"],
  ])("%s", (_, lines) => {
    expect(clean(lines)).toMatch(/^header_refused: header [A-Za-z-]+ is there more than once: /);
  });

  test.each([
    ["a line without a colon", "Nats-Rollup all\r\n"],
    ["a blank before the colon", "Nats-Rollup : all\r\n"],
    ["LF alone", "A: b\nNats-Rollup: all\r\n"],
    ["a folded line", "A: b\r\n Nats-Rollup: all\r\n"],
    ["a second block", "A: b\r\n\r\nNats-Rollup: all\r\n"],
    ["no end", "A: b"],
  ])("a block that no reader would take: %s", (_, lines) => {
    expect(clean(lines)).toMatch(/^headers_malformed: /);
  });

  test("a name of a family is told, cut short", () => {
    expect(clean(`Nats-${"x".repeat(1000)}: 1\r\n`)).toMatch(/^header_refused: header Nats-x{59} is refused/);
  });

  test("a prefix that would break a line", () => {
    expect(() => new HeaderCleaner({ prefix: "a\r\nb" })).toThrow(TypeError);
    expect(() => new HeaderCleaner({ prefix: "" })).toThrow(TypeError);
  });
});

const name = fc.oneof(
  fc.constantFrom(...headerRules.map(({ name }) => name.replace("*", "x")), "A", "Content-Type", "KV-Operation"),
  fc.stringMatching(/^[!-9;-~]{1,12}$/).filter((text) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text)),
);
const spelled = fc.tuple(name, fc.boolean(), fc.constantFrom("-", "_", ".")).map(([text, upper, separator]) => {
  return (upper ? text.toUpperCase() : text).replaceAll("-", separator);
});
const line = fc.tuple(spelled, fc.constantFrom("", " ", "   "), fc.stringMatching(/^[ -~é]{0,9}$/));

test("what is sent says to the server nothing that a rule takes out or refuses, and grows no more than it says", () => {
  fc.assert(
    fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
      const given = lines.map(([name, blank, value]) => `${name}:${blank}${value}\r\n`).join("");
      const sent = clean(given);
      if (/^header_refused: /.test(sent)) return;
      expect(Buffer.byteLength(sent)).toBeLessThanOrEqual(Buffer.byteLength(given) + headerGrowth(prefix));
      const rules = [...sent.matchAll(/([^:\r\n]+): ?([^\r\n]*)\r\n/g)].map(([, name = "", value = ""]) => {
        const rule = headerRule(name);
        if (rule?.treatment === "prefix" && value !== "") expect(value.startsWith(`${prefix}:`)).toBe(true);
        return rule;
      });
      expect(rules.filter((rule) => rule?.treatment === "refuse" || rule?.treatment === "strip")).toEqual([]);
      const known = rules.filter((rule) => rule !== undefined);
      expect(new Set(known).size).toBe(known.length);
      const kept = lines.filter(([name]) => headerRule(name) === undefined);
      const untouched = kept.map(([name, blank, value]) => `${name}:${blank}${value}`.replace(/: +/, ": "));
      const others = sent
        .split("\r\n")
        .filter((text) => text !== "" && headerRule(text.split(":")[0] ?? "") === undefined);
      expect(others).toEqual(untouched);
    }),
    { numRuns: 500 },
  );
});
