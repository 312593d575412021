import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { WayleaveError } from "../core/errors.ts";
import type { CaTaskName, CaTasks, FromCaWorker } from "./ca-protocol.ts";

/** The thread that makes certificates, as the broker's thread sees it. */
export interface CaSigner {
  /** Rejects `key_unavailable` where the thread failed, has too much to do, or is closed. */
  ask<N extends CaTaskName>(task: N, asks: CaTasks[N]["asks"]): Promise<CaTasks[N]["gives"]>;
  close(): Promise<void>;
}

/** Some three seconds of work; whoever comes then is told to come again rather than kept waiting. */
const maxWaiting = 1_000;

/** The thread starts with the first question, and again after a failure of it. It does not keep the process alive. */
export function createCaSigner(): CaSigner {
  return new WorkerSigner();
}

/** Source runs from `.ts` and the package from `.js`; the compiler rewrites imports, not URLs. */
function workerUrl(): URL {
  const source = new URL("./ca-worker.ts", import.meta.url);
  return new URL(source.href.replace(/\.ts$/, extname(import.meta.url)));
}

interface Call {
  readonly resolve: (gives: unknown) => void;
  readonly reject: (error: Error) => void;
}

class WorkerSigner implements CaSigner {
  readonly #calls = new Map<number, Call>();
  #worker: Worker | undefined;
  #calling = 0;
  #closed = false;

  ask<N extends CaTaskName>(task: N, asks: CaTasks[N]["asks"]): Promise<CaTasks[N]["gives"]> {
    if (this.#closed) return Promise.reject(failed("it is closed"));
    if (this.#calls.size >= maxWaiting) return Promise.reject(failed("too many are asked for at once; ask again"));
    const call = ++this.#calling;
    const { promise, resolve, reject } = Promise.withResolvers<CaTasks[N]["gives"]>();
    this.#calls.set(call, { resolve: resolve as (gives: unknown) => void, reject });
    try {
      this.#worker ??= this.#start();
      this.#worker.ref();
      this.#worker.postMessage({ call, task, asks });
    } catch (cause) {
      this.#calls.delete(call);
      reject(failed("its thread cannot be asked", cause));
    }
    return promise;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#fail(worker, failed("it is closed"));
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(workerUrl());
    worker.on("message", (message: FromCaWorker) => this.#receive(message));
    worker.on("error", (cause) => this.#fail(worker, failed("its thread failed", cause)));
    worker.on("exit", () => this.#fail(worker, failed("its thread stopped")));
    return worker;
  }

  #receive(message: FromCaWorker): void {
    const call = this.#calls.get(message.call);
    this.#calls.delete(message.call);
    if (this.#calls.size === 0) this.#worker?.unref();
    if ("gives" in message) call?.resolve(message.gives);
    else call?.reject(failed("a certificate could not be made", new Error(message.failed)));
  }

  /** Everything that waits for this thread; the next question starts another one. */
  #fail(worker: Worker | undefined, error: WayleaveError): void {
    if (worker === undefined || worker !== this.#worker) return;
    this.#worker = undefined;
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }
}

function failed(because: string, cause?: unknown): WayleaveError {
  return new WayleaveError("key_unavailable", `The CA signs no certificate now: ${because}.`, { cause });
}
