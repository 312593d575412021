import { describe, expect, it } from "vitest";
import { newPublishOp } from "./client-reader.ts";
import { OpWriter } from "./op-writer.ts";
import { freeChunk, SentMemory } from "./spent-memory.ts";

describe("what a socket read", () => {
  it("is given back when it is large and nobody else's", () => {
    const chunk = Buffer.alloc(65_536, "x");
    freeChunk(chunk);
    expect(chunk.length).toBe(0);
  });

  it("stays where others look at the same memory", () => {
    const whole = Buffer.alloc(65_536, "x");
    freeChunk(whole.subarray(0, 32_768));
    expect(whole.length).toBe(65_536);
    const pooled = Buffer.from("x".repeat(1_000));
    freeChunk(pooled);
    expect(pooled.toString()).toBe("x".repeat(1_000));
  });
});

describe("what was sent", () => {
  const first = () => Buffer.alloc(8_192, "a");
  const second = () => Buffer.alloc(8_192, "b");

  it("stays while its writer may still write behind it", () => {
    const memory = new SentMemory();
    const bytes = first();
    memory.sent(bytes.subarray(0, 100), 0);
    memory.sent(bytes.subarray(100, 200), 0);
    memory.drained();
    expect(bytes.length).toBe(8_192);
  });

  it("stays while the socket has it", () => {
    const memory = new SentMemory();
    const [a, b] = [first(), second()];
    memory.sent(a, 8_192);
    memory.sent(b, 16_384);
    expect([a.length, b.length]).toEqual([8_192, 8_192]);
  });

  it("is given back when the socket is through, and what came after it is not", () => {
    const memory = new SentMemory();
    const [a, b] = [first(), second()];
    memory.sent(a, 8_192);
    memory.sent(b, 16_384);
    memory.drained();
    expect([a.length, b.length]).toEqual([0, 8_192]);
    memory.sent(first(), 0);
    expect(b.length).toBe(0);
  });

  it("is not given back for bytes that are none", () => {
    const memory = new SentMemory();
    const a = first();
    memory.sent(a, 0);
    memory.sent(Buffer.alloc(0), 0);
    expect(a.length).toBe(8_192);
  });

  it("never is what the writer writes into or gave later", () => {
    const memory = new SentMemory();
    const writer = new OpWriter();
    const op = { ...newPublishOp(), buffer: Buffer.alloc(3_000, "x"), payloadEnd: 3_000 };
    const waiting: Buffer[] = [];
    for (let at = 0; at < 1_000; at++) {
      writer.message({ ...op, sid: "1" }, `a.${at}`, "");
      if (at % 3 > 0) continue;
      const piece = writer.take();
      waiting.push(piece);
      if (at % 5 > 0) continue;
      for (const sent of waiting.splice(0, waiting.length - 1)) {
        expect(sent.toString("latin1", 0, 6)).toBe("MSG a.");
        expect(sent.toString("latin1", sent.length - 5)).toBe("xxx\r\n");
        memory.sent(sent, at % 2);
      }
    }
    expect(waiting.length).toBeGreaterThan(0);
    for (const piece of waiting) expect(piece.toString("latin1", 0, 6)).toBe("MSG a.");
  });
});
