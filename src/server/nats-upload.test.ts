import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";
import { createNatsUpload } from "./nats-upload.ts";

const away = new WayleaveError("broker_unreachable", "no answer");
const no = new WayleaveError("invalid_request", "Records refused: of another gateway.");

const event = (code: string): AuditEvent => ({ kind: "nats.refused", data: { gateway: "jobs", code, detail: "" } });

/** A broker that answers when it is told to; time moves by pauses alone. */
function world() {
  let now = 0;
  const posts: {
    readonly codes: readonly string[];
    readonly ns: readonly number[];
    readonly answer: (error?: Error) => void;
  }[] = [];
  const lost: string[] = [];
  const recorded: string[] = [];
  let automatic: ((codes: readonly string[]) => Error | undefined) | undefined;
  const upload = createNatsUpload({
    clock: { monotonic: () => now },
    run: "run-12345678",
    pause: async (ms) => {
      now += ms;
      await new Promise((resolve) => setImmediate(resolve));
    },
    onLost: (detail) => lost.push(detail),
    patienceMs: 1_000,
    post: (body) =>
      new Promise((resolve, reject) => {
        const { run, events } = JSON.parse(body) as {
          run: string;
          events: { n: number; event: { data: { code: string } } }[];
        };
        expect(run).toBe("run-12345678");
        const codes = events.map((each) => each.event.data.code);
        const answer = (error?: Error) => {
          if (error !== undefined) return reject(error);
          recorded.push(...codes);
          resolve();
        };
        posts.push({ codes, ns: events.map(({ n }) => n), answer });
        if (automatic !== undefined) answer(automatic(codes));
      }),
  });
  return {
    upload,
    posts,
    lost,
    recorded,
    always(answer: (codes: readonly string[]) => Error | undefined) {
      automatic = answer;
    },
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "done",
    (error: unknown) => (error as WayleaveError).code,
  );

describe("records on their way to the broker", () => {
  test("go one batch at a time, and the next one grows meanwhile", async () => {
    const w = world();
    const first = w.upload.append([event("a"), event("b")]);
    await turn();
    const second = w.upload.append([event("c")]);
    w.upload.note(event("d"));
    await turn();
    expect(w.posts.map(({ codes }) => codes)).toEqual([["a", "b"]]);
    w.posts[0]?.answer();
    await first;
    await turn();
    expect(w.posts.map(({ codes }) => codes)).toEqual([
      ["a", "b"],
      ["c", "d"],
    ]);
    w.posts[1]?.answer();
    await second;
    await w.upload.settled();
    expect(w.recorded).toEqual(["a", "b", "c", "d"]);
  });

  test("are not confirmed before the broker answers", async () => {
    const w = world();
    let confirmed = false;
    const append = w.upload.append([event("a")]).then(() => {
      confirmed = true;
    });
    const settled = w.upload.settled();
    await turn();
    expect(confirmed).toBe(false);
    w.posts[0]?.answer();
    await Promise.all([append, settled]);
  });

  test("are sent again with their own numbers after an answer was lost", async () => {
    const w = world();
    const append = w.upload.append([event("a")]);
    await turn();
    w.posts[0]?.answer(away);
    await turn();
    await turn();
    w.posts[1]?.answer();
    await append;
    expect(w.posts.map(({ ns }) => ns)).toEqual([[1], [1]]);
  });

  test("are given up when the broker stays away: what waited is rejected and never sent later, what was noted is kept", async () => {
    const w = world();
    let up = false;
    w.always(() => (up ? undefined : away));
    w.upload.note(event("noted"));
    expect(await code(w.upload.append([event("a"), event("b")]))).toBe("journal_unavailable");
    up = true;
    await w.upload.settled();
    expect(w.recorded).toEqual(["noted"]);
    await w.upload.append([event("c")]);
    expect(w.recorded).toEqual(["noted", "c"]);
    expect(w.lost).toEqual([]);
  });

  test("that the broker refuses are said to be lost, and not sent again", async () => {
    const w = world();
    w.always((codes) => (codes.includes("bad") ? no : undefined));
    w.upload.note(event("bad"));
    expect(await code(w.upload.append([event("a")]))).toBe("journal_unavailable");
    await w.upload.append([event("b")]);
    expect(w.recorded).toEqual(["b"]);
    expect(w.lost).toEqual(["Records refused: of another gateway."]);
  });

  test("are split where there are many", async () => {
    const w = world();
    w.always(() => undefined);
    await w.upload.append(Array.from({ length: 12_000 }, (_, at) => event(String(at))));
    expect(w.posts.map(({ codes }) => codes.length)).toEqual([5_000, 5_000, 2_000]);
    expect(w.recorded).toHaveLength(12_000);
  });

  test("are refused while too many wait", async () => {
    const w = world();
    const long = event("x".repeat(1024 * 1024));
    for (let count = 0; count < 32; count++) w.upload.note(long);
    expect(() => w.upload.note(event("one more"))).toThrow("too many records wait");
    expect(await code(w.upload.append([event("one more")]))).toBe("journal_unavailable");
  });

  test("are sent at the end, or given up in time", async () => {
    const w = world();
    w.always(() => undefined);
    w.upload.note(event("last"));
    await w.upload.close();
    expect(w.recorded).toEqual(["last"]);
    expect(() => w.upload.note(event("late"))).toThrow();
    const gone = world();
    gone.always(() => away);
    const append = code(gone.upload.append([event("a")]));
    await gone.upload.close();
    expect(await append).toBe("journal_unavailable");
    expect(gone.recorded).toEqual([]);
  });

  test("nothing settles at once", async () => {
    await world().upload.settled();
    await world().upload.append([]);
  });
});
