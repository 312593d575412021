import type { DecisionSummary } from "../../api/contract.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import { refusalText } from "../refusal.ts";
import { type Paint, painter } from "../terminal.ts";
import type { JobSession } from "./job-session.ts";

export type RefusedRequest = Pick<DecisionSummary, "target" | "operation" | "reason">;

const maxPrinted = 20;
const pollSeconds = 25;
const afterOutageMs = 3000;

/**
 * Prints the session's refusals in the job's log, from whichever gateway: at once where our own listener saw the answer,
 * otherwise by a long poll on the session's own denials. Each distinct one is printed once, and a few at most.
 */
export class Refusals {
  readonly #io: CommandIo;
  readonly #session: JobSession;
  readonly #paint: Paint;
  readonly #stopped = new AbortController();
  readonly #records = new Set<string>();
  readonly #stories = new Set<string>();
  readonly #printing = new Set<Promise<void>>();
  readonly #following: Promise<void>;
  #unprinted = 0;
  #after: string;

  constructor(io: CommandIo, session: JobSession) {
    this.#io = io;
    this.#session = session;
    this.#paint = painter(io, io.stderr);
    this.#after = session.token.record;
    this.#following = this.#follow();
  }

  /** A request was refused under this record. */
  seen(record: string, request: RefusedRequest): void {
    if (this.#records.has(record)) return;
    this.#records.add(record);
    // A command that tries the same again tells no new story.
    const story = `${request.target} ${request.operation} ${request.reason}`;
    const told = this.#stories.has(story);
    if (told || this.#stories.size >= maxPrinted) {
      this.#unprinted += 1;
      return;
    }
    this.#stories.add(story);
    // A parallel command of the job may have printed this record.
    if (!this.#session.folder.claim(record)) return;
    const work = this.#print(record, request).finally(() => this.#printing.delete(work));
    this.#printing.add(work);
  }

  /** Prints what came last, waiting a moment for it where the command failed. */
  async finish(failed: boolean): Promise<void> {
    this.#stopped.abort();
    await this.#following;
    await this.#poll(failed ? 1 : 0).catch(() => undefined); // the session may be over, or the broker away
    await Promise.all(this.#printing);
    if (this.#unprinted > 0) this.#io.stderr.write(`wayleave: ${this.#unprinted} more like these, not shown\n`);
  }

  async #print(record: string, { target, operation, reason }: RefusedRequest): Promise<void> {
    const { broker, caller } = this.#session;
    try {
      this.#io.stderr.write(refusalText(this.#paint, await broker.explain(caller, record)));
    } catch (error) {
      if (!(error instanceof WayleaveError)) throw error;
      // The refusal stands, also where its explanation cannot be had.
      const [verb = "", object = ""] = operation.split(" ");
      const title = `denied  ${verb} ${target} ${object}`.trimEnd();
      const lines = [{ label: "reason", text: reason.replaceAll("_", " ") }];
      this.#io.stderr.write(refusalText(this.#paint, { record, title, lines }));
    }
  }

  /** Gives how many there were. */
  async #poll(waitSeconds: number, signal?: AbortSignal): Promise<number> {
    const { broker, caller } = this.#session;
    const found = await broker.decisions(caller, this.#after, waitSeconds, signal);
    for (const summary of found) {
      this.#after = summary.record;
      this.seen(summary.record, summary);
    }
    return found.length;
  }

  async #follow(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      try {
        const found = await this.#poll(pollSeconds, this.#stopped.signal);
        // A broker or a proxy that does not wait must not be asked without a pause.
        if (found === 0) await this.#io.pause(500, this.#stopped.signal);
      } catch (error) {
        const refused = error instanceof WayleaveError && error.wire.exit !== 5;
        if (this.#stopped.signal.aborted || refused) return;
        await this.#io.pause(afterOutageMs, this.#stopped.signal);
      }
    }
  }
}
