import fc from "fast-check";
import { expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import type { AuditEvent } from "../../core/record.ts";
import { GroupCommit, type Sealed } from "./group-commit.ts";

const event: AuditEvent = { kind: "broker.stopped", data: {} };

/** Work that gathers as numbers; `applied` is what happened, `written` what was recorded before it. */
function world(maxAhead = 1_000) {
  let gathered: number[] = [];
  const applied: number[] = [];
  const written: number[] = [];
  const writes: PromiseWithResolvers<void>[] = [];
  const failures: unknown[] = [];
  let records = true;
  let how: Sealed["written"] = "before";
  let noteFails = false;
  let sealed: number[] = [];
  const pending = () => {
    const write = Promise.withResolvers<void>();
    writes.push(write);
    return write.promise;
  };
  const commit = new GroupCommit({
    journal: {
      append: () => {
        const batch = sealed;
        return pending().then(() => void written.push(...batch));
      },
      note: () => {
        if (noteFails) throw new Error("full");
        written.push(...sealed);
      },
      settled: pending,
    },
    seal: () => {
      if (gathered.length === 0) return undefined;
      const batch = gathered;
      sealed = batch;
      gathered = [];
      const apply = () => void applied.push(...batch);
      return { events: records ? [event] : [], written: how, messages: batch.length, apply };
    },
    failed: (error) => failures.push(error),
    maxAhead,
  });
  return {
    ...{ commit, applied, written, writes, failures },
    add: (n: number) => void gathered.push(n),
    set: (more: { records?: boolean; how?: Sealed["written"]; noteFails?: boolean }) => {
      records = more.records ?? records;
      how = more.how ?? how;
      noteFails = more.noteFails ?? noteFails;
    },
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("nothing happens before its record, and one write takes all that gathered meanwhile", async () => {
  const { commit, add, applied, writes } = world();
  add(1);
  commit.flush();
  for (const n of [2, 3, 4]) {
    add(n);
    commit.flush();
  }
  await turn();
  expect([applied, writes.length]).toEqual([[], 1]);
  writes[0]?.resolve();
  await turn();
  expect([applied, writes.length]).toEqual([[1], 2]);
  writes[1]?.resolve();
  await turn();
  expect(applied).toEqual([1, 2, 3, 4]);
});

test("what has no record waits for what has one before it", async () => {
  const { commit, add, set, applied, writes } = world();
  add(1);
  commit.flush();
  set({ records: false });
  add(2);
  commit.flush();
  expect(applied).toEqual([]);
  writes[0]?.resolve();
  await turn();
  expect(applied).toEqual([1, 2]);
  add(3);
  commit.flush();
  expect(applied).toEqual([1, 2, 3]);
});

test("a write that fails is the end: nothing of it happens, and nothing after it", async () => {
  const { commit, add, applied, writes, failures } = world();
  add(1);
  commit.flush();
  add(2);
  writes[0]?.reject(new Error("full"));
  await turn();
  add(3);
  commit.flush();
  await commit.settled();
  expect(applied).toEqual([]);
  expect(failures).toHaveLength(1);
});

test("records behind: at once, but never further ahead of the disk than allowed", async () => {
  const { commit, add, set, applied, writes } = world(2);
  set({ how: "behind" });
  for (const n of [1, 2, 3, 4]) {
    add(n);
    commit.flush();
  }
  expect([applied, writes.length]).toEqual([[1, 2], 1]);
  writes[0]?.resolve();
  await turn();
  expect(applied).toEqual([1, 2, 3, 4]);
});

test("records behind: what cannot be noted does not happen", () => {
  const { commit, add, set, applied, failures } = world();
  set({ how: "behind", noteFails: true });
  add(1);
  commit.flush();
  expect([applied, failures.length]).toEqual([[], 1]);
});

const full = () => new WayleaveError("journal_unavailable", "full");

test("records behind: a journal that is full is waited for, and takes each record once", async () => {
  const noted: number[] = [];
  const applied: number[] = [];
  const waits: PromiseWithResolvers<void>[] = [];
  const failures: unknown[] = [];
  let room = 1;
  let next = 0;
  const commit = new GroupCommit({
    journal: {
      append: () => Promise.reject(new Error("nothing is to be appended")),
      note() {
        if (room-- <= 0) throw full();
        noted.push(next);
      },
      settled() {
        const wait = Promise.withResolvers<void>();
        waits.push(wait);
        return wait.promise;
      },
    },
    seal() {
      if (next >= 3) return undefined;
      const at = ++next;
      return { events: [event, event], written: "behind", messages: 1, apply: () => void applied.push(at) };
    },
    failed: (error) => failures.push(error),
    maxAhead: 1_000,
  });
  commit.flush();
  expect([noted, applied, waits.length]).toEqual([[1], [], 1]);
  waits[0]?.resolve(); // another connection was faster: there is still no room
  await turn();
  expect([noted, applied, waits.length]).toEqual([[1], [], 2]);
  room = 5;
  waits[1]?.resolve();
  await turn();
  waits[2]?.resolve();
  await turn();
  expect([noted, applied, failures]).toEqual([[1, 1, 2, 2, 3, 3], [1, 2, 3], []]);
});

test("connections share what may be ahead of the disk: one waits until another's records are durable", async () => {
  const order: string[] = [];
  const appends: (() => void)[] = [];
  const settles: (() => void)[] = [];
  const journal = {
    append: () => new Promise<void>((resolve) => void appends.push(resolve)),
    note: () => undefined,
    settled: () => new Promise<void>((resolve) => void settles.push(resolve)),
  };
  const connection = (name: string, written: Sealed["written"], messages: number) => {
    let left = 1;
    const seal = (): Sealed | undefined =>
      left-- > 0 ? { events: [event], written, messages, apply: () => void order.push(name) } : undefined;
    return new GroupCommit({ journal, seal, failed: (error) => void order.push(String(error)), maxAhead: 10 });
  };
  connection("large", "before", 50).flush(); // alone, however large it is
  connection("second", "before", 1).flush();
  await turn();
  expect([appends.length, settles.length]).toEqual([1, 1]);
  appends[0]?.();
  settles[0]?.();
  await turn();
  await turn();
  expect(appends.length).toBe(2);
  appends[1]?.();
  await turn();
  expect(order).toEqual(["large", "second"]);
  connection("third", "behind", 8).flush();
  connection("fourth", "behind", 8).flush();
  expect(order).toEqual(["large", "second", "third"]);
  settles.at(-1)?.();
  await turn();
  expect(order).toEqual(["large", "second", "third", "fourth"]);
});

test("records behind: a journal that is full and then fails is the end, and one that never has room", async () => {
  for (const settled of [() => Promise.reject(full()), () => Promise.resolve()]) {
    const [applied, failures]: [number[], unknown[]] = [[], []];
    const note = () => {
      throw full();
    };
    const commit = new GroupCommit({
      journal: { append: () => Promise.resolve(), note, settled },
      seal: () => ({ events: [event], written: "behind", messages: 1, apply: () => void applied.push(1) }),
      failed: (error) => failures.push(error),
      maxAhead: 1_000,
    });
    commit.flush();
    await turn();
    await turn();
    expect([applied, failures.length]).toEqual([[], 1]);
  }
});

test("what is stopped while its record is written does not happen, and who waits is let go", async () => {
  const { commit, add, applied, writes, failures } = world();
  add(1);
  commit.flush();
  const settled = commit.settled();
  commit.stop();
  await settled;
  writes[0]?.resolve();
  await turn();
  expect([applied, failures]).toEqual([[], []]);
});

test("a failing part of it is told, not thrown", async () => {
  const failures: unknown[] = [];
  const journal = { append: () => Promise.resolve(), note: () => undefined, settled: () => Promise.resolve() };
  const failed = (error: unknown) => void failures.push(error);
  const boom = () => {
    throw new Error("boom");
  };
  new GroupCommit({ journal, seal: boom, failed, maxAhead: 1 }).flush();
  const sealed = (): Sealed => ({ events: [event], written: "before", messages: 1, apply: boom });
  new GroupCommit({ journal, seal: sealed, failed, maxAhead: 1 }).flush();
  const broken = { ...journal, append: boom };
  new GroupCommit({ journal: broken, seal: sealed, failed, maxAhead: 1 }).flush();
  await turn();
  expect(failures).toHaveLength(3);
});

test("law: what happened was written first, in order and without gaps, whatever the journal does", async () => {
  const step = fc.constantFrom("add", "flush", "resolve", "reject", "behind", "before");
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const made = world(3);
      let added = 0;
      let answered = 0;
      for (const one of steps) {
        if (one === "add") made.add(++added);
        else if (one === "flush") made.commit.flush();
        else if (one === "behind" || one === "before") made.set({ how: one });
        else if (answered < made.writes.length) made.writes[answered++]?.[one](new Error("full") as never);
        await turn();
        expect(made.applied).toEqual(made.applied.map((_, at) => at + 1));
        expect(made.written.slice(0, made.applied.length)).toEqual(made.applied);
        expect(made.failures.length).toBeLessThanOrEqual(1);
      }
    }),
    { numRuns: 60 },
  );
});
