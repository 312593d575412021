import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { sessionIdPattern } from "../core/ids.ts";
import type { AuditRecord, Recorder, RecordJob } from "../core/record.ts";
import { type EvidenceGateway, type LineProblem, type LineReader, type ReadLine, requestEvent } from "./evidence.ts";
import { type FilePiece, type FileTaken, linesOf } from "./file-lines.ts";
import { createLineMemory, type LineMemory } from "./line-memory.ts";
import { createQueue, type Queue } from "./queue.ts";
import { createRefusedLines } from "./refused-lines.ts";

export type Taken = Omit<FileTaken, "upto">;

export interface EvidenceIntake {
  /**
   * Makes records of a file's whole lines and says up to which byte: send on from there. A line without its line break is
   * left for the next time. Rejects `journal_unavailable` where nothing could be recorded; nothing is lost then, nor
   * doubled when it is sent again.
   */
  takeFile(gateway: EvidenceGateway, piece: FilePiece, read: LineReader): Promise<FileTaken>;
  /** Makes records of entries as a gateway streams them. */
  takeEntries(gateway: EvidenceGateway, entries: readonly ReadLine[]): Promise<Taken>;
  /** When each gateway's newest entry was written, by its clock and by ours; ms since the epoch. */
  readonly heard: ReadonlyMap<string, Heard>;
}

export interface Heard {
  /** By our clock: when something of it was taken last. */
  readonly at: number;
  /** How far that entry's time was ahead of our clock, ms; negative for one that took its time. */
  readonly aheadMs: number;
}

export interface EvidenceIntakeDeps {
  readonly clock: Pick<Clock, "now">;
  readonly recorder: Pick<Recorder, "note" | "settled">;
  /** The job of a session that exists or existed; undefined for any other id. */
  job(session: string): RecordJob | undefined | Promise<RecordJob | undefined>;
  /** `gateway.request` records of a gateway from a time on, newest first, at most so many. */
  recorded(gateway: string, sinceMs: number, limit: number): Promise<readonly AuditRecord[]>;
}

/** Lines that wait for the disk at a time, all gateways together: decisions share the journal, and go first. */
const chunkLines = 200;
const maxFilesKnown = 32;
const maxWaiting = 4;

/**
 * Turns gateways' logs into `gateway.request` records, each line once: by its place in its file and, for what was recorded
 * before this broker started, by what it says. Slow on purpose: no more than one chunk is ever waiting for the disk, so
 * that decisions do not notice.
 */
export function createEvidenceIntake(deps: EvidenceIntakeDeps): EvidenceIntake {
  const states = new Map<string, GatewayState>();
  const heard = new Map<string, Heard>();
  const oneChunk = createQueue();
  const refusals = createRefusedLines(deps);

  const stateOf = (gateway: string): GatewayState => {
    let state = states.get(gateway);
    if (state === undefined) {
      state = { files: new Map(), memory: createLineMemory(deps, gateway), waiting: 0, queue: createQueue() };
      states.set(gateway, state);
    }
    return state;
  };

  const take: Take = async (gateway, lines, memory) => {
    const jobs = await jobsOf(deps, lines);
    return oneChunk(async () => {
      const noted = noteLines({ deps, gateway, jobs, memory }, lines);
      for (const problem of noted.problems) refusals.add(gateway.name, problem);
      await deps.recorder.settled();
      if (noted.newest !== undefined) heard.set(gateway.name, noted.newest);
      if (noted.failure !== undefined && noted.lines === 0) throw noted.failure;
      return noted;
    });
  };

  return {
    heard,
    async takeFile(gateway, piece, read) {
      const state = stateOf(gateway.name);
      if (state.waiting >= maxWaiting) throw busy();
      state.waiting++;
      try {
        return await state.queue(() => takePiece({ state, gateway, take }, piece, read));
      } finally {
        state.waiting--;
      }
    },
    async takeEntries(gateway, entries) {
      const { memory } = stateOf(gateway.name);
      const sum = { taken: 0, repeated: 0, refused: 0 };
      for (let at = 0; at < entries.length; at += chunkLines) {
        const noted = await take(gateway, entries.slice(at, at + chunkLines), memory.streamed);
        add(sum, noted);
        if (noted.failure !== undefined) throw noted.failure;
      }
      return sum;
    },
  };
}

interface GatewayState {
  /** By file, in order of last use. */
  readonly files: Map<string, FileState>;
  readonly memory: LineMemory;
  waiting: number;
  readonly queue: Queue;
}

interface FileState {
  /** Bytes of the file that are dealt with. */
  upto: number;
  /** Those bytes end within a line that is too long to be one. */
  withinLong: boolean;
}

/** Notes lines until one cannot be; resolves when what was noted is durable. */
type Take = (gateway: EvidenceGateway, lines: readonly ReadLine[], memory: LineMemory["recorded"]) => Promise<Noted>;

interface Noted extends Taken {
  /** How many of the lines were dealt with. */
  readonly lines: number;
  readonly failure?: unknown;
}

interface Noting {
  readonly deps: EvidenceIntakeDeps;
  readonly gateway: EvidenceGateway;
  readonly jobs: ReadonlyMap<string, RecordJob>;
  readonly memory: LineMemory["recorded"];
}

function noteLines({ deps, gateway, jobs, memory }: Noting, lines: readonly ReadLine[]) {
  const now = deps.clock.now();
  const problems: LineProblem[] = [];
  let newest: Heard | undefined;
  let [taken, repeated] = [0, 0];
  let failure: unknown;
  for (const line of lines) {
    const event = typeof line === "string" ? line : requestEvent(line, gateway, jobs.get(line.session ?? ""), now);
    if (typeof event === "string") problems.push(event);
    else if (memory.knows(event)) repeated++;
    else {
      try {
        deps.recorder.note(event);
      } catch (error) {
        failure = error;
        break;
      }
      memory.add(event);
      newest = { at: now, aheadMs: event.data.at - now };
      taken++;
    }
  }
  const refused = problems.length;
  return { taken, repeated, refused, lines: taken + repeated + refused, problems, newest, failure };
}

async function takePiece(
  { state, gateway, take }: { readonly state: GatewayState; readonly gateway: EvidenceGateway; readonly take: Take },
  piece: FilePiece,
  read: LineReader,
): Promise<FileTaken> {
  await state.memory.load();
  const file = fileState(state, piece.file);
  const { lines, rest } = linesOf(piece, file.withinLong && piece.offset === file.upto);
  const behind = lines.filter((line) => line.end <= file.upto).length;
  const fresh = lines.slice(behind);
  const sum = { taken: 0, repeated: behind, refused: 0 };
  for (let at = 0; at < fresh.length; at += chunkLines) {
    const chunk = fresh.slice(at, at + chunkLines);
    const readLines = chunk.map(({ text }) => (text === undefined ? "too_long" : read(text, gateway)));
    const noted = await take(gateway, readLines, state.memory.recorded).catch((error: unknown) => {
      if (at === 0) throw error;
      return undefined; // what went before is recorded, and the answer says up to where
    });
    if (noted === undefined) return { ...sum, upto: file.upto };
    add(sum, noted);
    file.upto = chunk[noted.lines - 1]?.end ?? file.upto;
    file.withinLong = false;
    if (noted.lines < chunk.length) return { ...sum, upto: file.upto };
  }
  if (rest.tooLong) Object.assign(file, { upto: Math.max(file.upto, rest.end), withinLong: true });
  return { ...sum, upto: Math.max(file.upto, piece.offset) };
}

function fileState({ files }: GatewayState, name: string): FileState {
  const known = files.get(name) ?? { upto: 0, withinLong: false };
  files.delete(name);
  const [oldest] = files.keys();
  if (files.size >= maxFilesKnown && oldest !== undefined) files.delete(oldest);
  files.set(name, known);
  return known;
}

/** Jobs of the sessions that the lines name. */
async function jobsOf(deps: EvidenceIntakeDeps, lines: readonly ReadLine[]): Promise<ReadonlyMap<string, RecordJob>> {
  const named = new Set(lines.flatMap((line) => (typeof line === "string" ? [] : (line.session ?? []))));
  const jobs = new Map<string, RecordJob>();
  for (const session of named) {
    const job = sessionIdPattern.test(session) ? await deps.job(session) : undefined;
    if (job !== undefined) jobs.set(session, job);
  }
  return jobs;
}

function add(sum: { taken: number; repeated: number; refused: number }, more: Taken): void {
  sum.taken += more.taken;
  sum.repeated += more.repeated;
  sum.refused += more.refused;
}

function busy(): WayleaveError {
  return new WayleaveError(
    "journal_unavailable",
    "This gateway's log is still being read from earlier requests; send it again shortly, one piece at a time.",
  );
}
