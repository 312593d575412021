import { appendFileSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { GatewayAgent } from "./gateway-agent.ts";
import { followLog } from "./gateway-follow-loops.ts";
import { readPlace, writePlace } from "./gateway-follow-place.ts";
import { LogTail, type TailPlace } from "./gateway-log-tail.ts";

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wayleave-follow-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Everything a tail gives until it has looked often enough. */
function drain(tail: LogTail, looks = 12): string[] {
  const lines: string[] = [];
  for (let idle = 0; idle < looks; ) {
    const piece = tail.next();
    if (piece === undefined) idle++;
    else {
      lines.push(...piece.bytes.toString().split("\n").filter(Boolean));
      tail.advance(piece.offset + piece.bytes.length);
    }
  }
  return lines;
}

describe("a log that is followed", () => {
  test("is read from its start, and then line by line as it grows", () => {
    const log = join(folder(), "a.log");
    const tail = new LogTail(log, undefined, 1024);
    expect(drain(tail)).toEqual([]);
    writeFileSync(log, "1\n2\n3");
    expect(drain(tail)).toEqual(["1", "2"]);
    appendFileSync(log, "3\n");
    expect(drain(tail)).toEqual(["33"]);
    tail.close();
  });

  test("stays to be read until it arrived", () => {
    const log = join(folder(), "a.log");
    writeFileSync(log, "1\n2\n");
    const tail = new LogTail(log, undefined, 1024);
    expect(tail.next()?.bytes.toString()).toBe("1\n2\n");
    tail.advance(2);
    expect(tail.next()).toMatchObject({ offset: 2, bytes: Buffer.from("2\n") });
    tail.close();
  });

  test("that is renamed is read to its end, whoever still writes to it, before the new one", () => {
    const log = join(folder(), "a.log");
    writeFileSync(log, "1\n");
    const tail = new LogTail(log, undefined, 1024);
    expect(tail.next()).toBeDefined();
    tail.advance(2);
    renameSync(log, `${log}.1`);
    writeFileSync(log, "3\n");
    expect(tail.next()).toBeUndefined();
    appendFileSync(`${log}.1`, "2\n");
    expect(drain(tail)).toEqual(["2", "3"]);
    tail.close();
  });

  test("that was renamed while nobody followed is found under its new name", () => {
    const log = join(folder(), "a.log");
    writeFileSync(log, "1\n2\n");
    const before = new LogTail(log, undefined, 1024);
    expect(before.next()).toBeDefined();
    before.advance(2);
    before.close();
    renameSync(log, `${log}.1`);
    writeFileSync(log, "3\n");
    const tail = new LogTail(log, before.place, 1024);
    expect(drain(tail)).toEqual(["2", "3"]);
    tail.close();
  });

  test.each([
    { why: "to nothing", after: "" },
    { why: "and filled with less", after: "new 1\n" },
    { why: "and filled with more", after: `new 1\n${"new 2\n".repeat(50)}` },
  ])("that is cut is begun anew under another name: $why", ({ after }) => {
    const log = join(folder(), "a.log");
    writeFileSync(log, "old 1\nold 2\n");
    const tail = new LogTail(log, undefined, 4096);
    const file = tail.next()?.file;
    expect(drain(tail)).toHaveLength(2);
    truncateSync(log);
    appendFileSync(log, after);
    const piece = tail.next();
    expect(piece?.offset ?? 0).toBe(0);
    if (after !== "") expect(piece?.file).not.toBe(file);
    expect(drain(tail)).toHaveLength(after.split("\n").length - 1);
    tail.close();
  });

  test("has the same name after a restart that lost its place", () => {
    const log = join(folder(), "a.log");
    writeFileSync(log, "1\n2\n");
    const [one, two] = [new LogTail(log, undefined, 1024), new LogTail(log, undefined, 1024)];
    expect(one.next()?.file).toBe(two.next()?.file);
    one.close();
    two.close();
  });

  test("with a line longer than a piece is not stuck there", () => {
    const log = join(folder(), "a.log");
    writeFileSync(log, `${"x".repeat(3000)}\nend\n`);
    const tail = new LogTail(log, undefined, 1024);
    expect(drain(tail).at(-1)).toBe("end");
    tail.close();
  });

  test("loses and doubles no line, whatever happens to it", () => {
    const step = fc.constantFrom("write", "write", "write", "rotate", "restart", "look");
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const log = join(folder(), "a.log");
        let [written, rotations] = [0, 0];
        let tail = new LogTail(log, undefined, 64);
        const seen: string[] = [];
        const write = () => appendFileSync(log, `line ${written++}\n`);
        const look = () => seen.push(...drain(tail));
        const acts: Record<string, () => void> = {
          write,
          look,
          // One rotation at a time, as they come in life: what was rotated before was read.
          rotate: () => {
            if (written === 0) return;
            look();
            renameSync(log, `${log}.${++rotations}`);
            write();
          },
          restart: () => {
            tail.close();
            tail = new LogTail(log, tail.place, 64);
          },
        };
        for (const what of steps) acts[what]?.();
        look();
        tail.close();
        expect(seen).toEqual(Array.from({ length: written }, (_, at) => `line ${at}`));
      }),
      { numRuns: 60 },
    );
  });
});

describe("the place in it", () => {
  test("survives a restart", () => {
    const path = join(folder(), "place");
    const place: TailPlace = { inode: "1-2", head: "ab", headBytes: 2, offset: 7 };
    writePlace(path, place);
    expect(readPlace(path)).toEqual(place);
  });

  test.each(["", "{", '{"inode":1}', '{"inode":"1","head":"","headBytes":0,"offset":-1}', "null"])(
    "that cannot be understood is none: %s",
    (text) => {
      const path = join(folder(), "place");
      writeFileSync(path, text);
      expect(readPlace(path)).toBeUndefined();
    },
  );

  test("that cannot be kept stops the agent", () => {
    expect(() =>
      writePlace(join(folder(), "no", "such", "folder"), { inode: "", head: "", headBytes: 0, offset: 0 }),
    ).toThrow(/--state/);
  });
});

describe("sending", () => {
  /** A broker that answers as told, one answer after the other, and then takes everything. */
  function following(answers: readonly (Error | Partial<{ upto: number; refused: number }>)[]) {
    const log = join(folder(), "a.log");
    const sent: number[] = [];
    const stop = new AbortController();
    let err = "";
    let pauses = 0;
    const agent: Pick<GatewayAgent, "send" | "refusals"> = {
      async send({ offset, bytes }) {
        const answer = answers[sent.length];
        sent.push(offset);
        if (answer instanceof Error) throw answer;
        return { taken: 1, repeated: 0, refused: 0, upto: offset + bytes.length, ...answer };
      },
      refusals: async () => undefined,
    };
    const places: number[] = [];
    const io = {
      stderr: { write: (text: string) => (err += text) },
      now: () => 0,
      pause: async () => {
        if (++pauses > 20) stop.abort();
        await new Promise(setImmediate);
      },
    };
    const tail = new LogTail(log, undefined, 1024);
    onTestFinished(() => tail.close());
    const run = () => followLog({ io, agent, signal: stop.signal }, tail, ({ offset }) => places.push(offset));
    return { log, sent, places, run, err: () => err };
  }
  const away = new WayleaveError("broker_unreachable", "no answer");

  test("goes on from where the broker came", async () => {
    const { log, sent, places, run } = following([{ upto: 2 }]);
    writeFileSync(log, "1\n2\n");
    await run();
    expect(sent).toEqual([0, 2]);
    expect(places).toEqual([2, 4]);
  });

  test("survives a broker that is away, and says so once", async () => {
    const { log, sent, places, run, err } = following([away, away, away]);
    writeFileSync(log, "1\n");
    await run();
    expect(sent).toEqual([0, 0, 0, 0]);
    expect(places).toEqual([2]);
    expect(err().match(/no answer/g)).toHaveLength(1);
    expect(err()).toContain("answers again");
  });

  test("stops where it is refused", async () => {
    const { log, places, run } = following([new WayleaveError("gateway_unauthenticated", "wrong secret")]);
    writeFileSync(log, "1\n");
    await expect(run()).rejects.toMatchObject({ code: "gateway_unauthenticated" });
    expect(places).toEqual([]);
  });

  test("never jumps past what it read, whatever the broker says", async () => {
    const { log, places, run } = following([{ upto: 1_000_000 }]);
    writeFileSync(log, "1\n");
    appendFileSync(log, "2\n");
    const done = run();
    setImmediate(() => appendFileSync(log, "3\n"));
    await done;
    expect(Math.max(...places)).toBeLessThanOrEqual(6);
  });

  test("tells how many lines were no evidence", async () => {
    const { log, run, err } = following([{ refused: 3 }]);
    writeFileSync(log, "1\n");
    setImmediate(() => appendFileSync(log, "2\n"));
    await run();
    expect(err()).toContain("3 lines of the log refused");
  });
});
