import { expect, onTestFinished, test } from "vitest";
import { createEventConsumers } from "./consumers.ts";
import { deployImage, FakeWorld, type MessageOptions, message, startTime } from "./event-world.fake.ts";
import type { Delivery, EventSource } from "./ports.ts";

/** A stream in memory whose messages are delivered again as they are told to be. */
class FakeStream implements EventSource {
  readonly told: string[] = [];
  readonly stored: Delivery[] = [];
  readonly #queue: Delivery[] = [];
  #wake: (() => void) | undefined;
  failNext = 0;
  closed = 0;

  add(options: MessageOptions): void {
    const sequence = this.stored.length + 1;
    const delivery: Delivery = {
      ...message({ sequence, ...options }),
      ack: async () => this.#tell(`ack ${sequence}`),
      nak: (afterMs) => void this.#tell(`nak ${sequence} ${afterMs}`),
      term: (reason) => void this.#tell(`term ${sequence} ${reason}`),
      working: () => void this.#tell(`working ${sequence}`),
    };
    this.stored.push(delivery);
    this.#queue.push(delivery);
    this.#wake?.();
  }

  async next(): Promise<Delivery | undefined> {
    if (this.failNext > 0) {
      this.failNext -= 1;
      throw new TypeError("the server is away");
    }
    if (this.#queue.length === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    return this.#queue.shift();
  }

  async find(sequence: number): Promise<Delivery | undefined> {
    return this.stored[sequence - 1];
  }

  async close(): Promise<void> {
    this.closed += 1;
  }

  /** Resolves when that was told. */
  async says(text: string): Promise<void> {
    while (!this.told.includes(text)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #tell(text: string): boolean {
    this.told.push(text);
    this.#wake?.();
    return true;
  }
}

function running(world = new FakeWorld(), stream = new FakeStream()) {
  const paused: number[] = [];
  const opened: (number | undefined)[] = [];
  const consumers = createEventConsumers({
    engine: world.engine,
    table: world.table,
    rules: () => world.rules,
    open: async (_rule, resumeFrom) => {
      opened.push(resumeFrom);
      return stream;
    },
    workingMs: 60_000,
    pause: async (ms) => void paused.push(ms),
    onFault: (error) => void world.faults.push(error),
  });
  onTestFinished(() => consumers.stop());
  return { world, stream, consumers, paused, opened };
}

test("messages are told their verdicts, one after the other", async () => {
  const { world, stream, consumers } = running();
  stream.add({});
  stream.add({ headers: {} });
  await consumers.reconcile();
  await stream.says("term 2 not_from_a_job");
  expect(stream.told).toEqual(["ack 1", "term 2 not_from_a_job"]);
  expect(world.ci.made).toHaveLength(1);
});

test("one that has to wait is handed back, and listed", async () => {
  const { world, stream, consumers } = running();
  world.ci.moods = ["request_lost"];
  stream.add({});
  await consumers.reconcile();
  await stream.says("nak 1 2000");
  expect(consumers.list()).toMatchObject([{ state: "pending", attempt: 1 }]);
});

test("what an earlier run began is looked up when the source opens, not when the stream delivers it again", async () => {
  const { world, stream, consumers } = running();
  world.ci.moods = ["answer_lost"];
  stream.add({});
  await consumers.reconcile();
  await stream.says("nak 1 2000");
  await consumers.stop();
  expect(consumers.list()).toMatchObject([{ state: "pending", open: true }]);

  const later = running(world, stream);
  await later.consumers.reconcile();
  while (later.consumers.list().length > 0) await new Promise<void>((resolve) => setImmediate(resolve));
  expect(world.kinds()).toContain("event.started");
  expect(world.ci.made).toHaveLength(1);
});

test("a server that is away is asked again, with back-off, and what is wrong is said meanwhile", async () => {
  const { stream, consumers, paused } = running();
  stream.failNext = 3;
  stream.add({});
  await consumers.reconcile();
  await stream.says("ack 1");
  expect([paused, stream.closed]).toEqual([[2000, 4000, 8000], 3]);
  expect(consumers.problems()).toEqual([]);
});

test("an event that policy drops stops; one that comes starts, from where it was", async () => {
  const { world, stream, consumers, opened } = running();
  stream.add({});
  await consumers.reconcile();
  await stream.says("ack 1");
  world.rules = [];
  await consumers.reconcile();
  stream.add({});
  world.rules = [deployImage()];
  await consumers.reconcile();
  await stream.says("ack 2");
  expect(opened).toEqual([undefined, startTime]);
});

test("a changed subject is another consumer; an unchanged event goes on", async () => {
  const { world, consumers, opened } = running();
  await consumers.reconcile();
  await consumers.reconcile();
  expect(opened).toHaveLength(1);
  world.rules = [deployImage({ on: { target: "events", account: "CI", stream: "IMAGES", subject: "image.>" } })];
  await consumers.reconcile();
  expect(opened).toHaveLength(2);
});

test("a dead letter is retried from the stream; one whose message is gone is not", async () => {
  const { world, stream, consumers } = running();
  world.ci.moods = ["refused", "refused"];
  stream.add({});
  stream.add({});
  await consumers.reconcile();
  await stream.says("term 2 ci_refused");
  const [first, second] = consumers.list();
  expect(await consumers.retry(first?.key ?? "", "ada")).toMatchObject({ state: "started" });
  stream.stored.splice(1);
  await expect(consumers.retry(second?.key ?? "", "ada")).rejects.toMatchObject({ code: "not_found" });
  await expect(consumers.retry(first?.key ?? "", "ada")).rejects.toMatchObject({ code: "not_found" });
  world.rules = [];
  await consumers.reconcile();
  await expect(consumers.retry(second?.key ?? "", "ada")).rejects.toMatchObject({ code: "invalid_request" });
});
