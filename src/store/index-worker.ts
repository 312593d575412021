import { parentPort, workerData } from "node:worker_threads";
import { createIndexBuilder } from "./index-builder.ts";
import type { FromWorker, Question, ToWorker, WorkerStart } from "./index-protocol.ts";
import { openSqliteStore } from "./sqlite-store.ts";
import { wholeTexts } from "./whole-texts.ts";

/**
 * The thread that owns the index. It reads the journal's files by itself, so that the broker's thread never waits for
 * it and holds nothing for it. While nobody asks it rests fifteen times as long as it works, which leaves the processor
 * to decisions through a burst, and three times once it lags by what a question would wait some two seconds for. A
 * question is answered as fast as it goes.
 */
const gatherMs = 100;
const resting = 15;
const lagging = 3;
const longBacklog = 200_000;

const start = workerData as WorkerStart;
const port = parentPort;
if (port === null) throw new TypeError("index-worker.ts runs as a worker");
const send = (message: FromWorker) => port.postMessage(message);

const store = openSqliteStore(start.file);
await store.migrate();
const builder = await createIndexBuilder({
  ...start,
  store,
  onApplied: (seq) => send({ type: "applied", seq }),
});

/** One thing at a time: everything that touches the store waits for what came before. */
let work: Promise<void> = Promise.resolve();
let timer: NodeJS.Timeout | undefined;

function inTurn(job: () => Promise<void>): void {
  work = work.then(job);
}

function later(delayMs: number): void {
  timer ??= setTimeout(() => {
    timer = undefined;
    inTurn(index);
  }, delayMs);
}

async function index(): Promise<void> {
  const began = performance.now();
  try {
    if (await builder.step()) later((performance.now() - began) * (builder.backlog > longBacklog ? lagging : resting));
  } catch {
    later(1000); // a full disk, say; whoever asks meanwhile is told
  }
}

async function answer(call: number, seq: number, question: Question): Promise<void> {
  try {
    await builder.catchUp(seq);
    send({ type: "answer", call, records: await records(question) });
  } catch (error) {
    send({ type: "failed", call, because: error instanceof Error ? error.message : String(error) });
  }
}

async function records(question: Question): Promise<readonly string[]> {
  switch (question.ask) {
    case "query":
      return wholeTexts(start.journalDir, await store.query(question.filter), question.filter);
    case "get": {
      const found = await store.get(question.id);
      return wholeTexts(start.journalDir, found === undefined ? [] : [found], {});
    }
    case "state":
      return (await store.stateRecords(question.range)).map(({ json }) => json);
    case "disagreements":
      return (await store.disagreements(question.candidate)).map((row) => JSON.stringify(row));
    case "caughtUp":
      return [];
  }
}

port.on("message", (message: ToWorker) => {
  switch (message.type) {
    case "durable":
      builder.durableTo(message.durable);
      later(gatherMs);
      return;
    case "question":
      inTurn(() => answer(message.call, message.seq, message.question));
      return;
    case "close":
      inTurn(async () => {
        clearTimeout(timer);
        await store.close();
        port.close();
      });
  }
});

send({ type: "ready", seq: builder.appliedSeq });
if (builder.appliedSeq < start.durable.seq) later(0);
