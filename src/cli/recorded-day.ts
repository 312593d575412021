import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { WayleaveError } from "../core/errors.ts";
import type { AuditRecord } from "../core/record.ts";
import { createLimits } from "../gateway/limits.ts";
import type { Policy } from "../policy/policy.ts";
import type { Recall } from "../rollout/known-sessions.ts";
import { Replay, type Replayed, replayKinds } from "../rollout/replay.ts";
import { thousands } from "./audit-nats-text.ts";
import { type CliWord, configOption, type Input, jsonOption } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { connectOperator, type Operator, queryOf } from "./operator.ts";
import { policyOptions } from "./policy-source.ts";
import { timeOption } from "./time-option.ts";

export const recordedOptions: readonly CliWord[] = [
  { spec: "--since <time>", doc: "from then on: a duration back (24h, 7d) or an ISO 8601 time (default: 24h)" },
  { spec: "--until <time>", doc: "up to then (default: now)" },
  { spec: "--from <file>", doc: "read records from a file instead of the broker: JSON lines, oldest first" },
  ...(policyOptions.some(({ spec }) => spec === configOption.spec) ? policyOptions : [configOption, ...policyOptions]),
  jsonOption,
];

/** Where recorded requests come from: oldest first, and what was before them of one session. */
interface Recorded {
  records(): AsyncIterable<AuditRecord>;
  readonly recall: Recall;
  close(): Promise<void>;
}

/** Replays what was recorded against a draft, as it is read; progress goes to stderr where that is a terminal. */
export async function replayRecorded(
  io: CommandIo,
  input: Input,
  draft: Policy,
  onReplayed: (replayed: Replayed) => void = () => undefined,
): Promise<Replay> {
  const recorded = await openRecorded(io, input);
  // Limits are counted in the time of the records.
  let now = 0;
  const counts = createLimits({ monotonic: () => now });
  const replay = new Replay({ draft, counts, recall: recorded.recall, onReplayed });
  const progress = progressOn(io);
  try {
    for await (const record of recorded.records()) {
      now = Date.parse(record.time);
      await replay.take(record);
      progress.look(replay.requests);
    }
    return replay;
  } finally {
    progress.end();
    await recorded.close();
  }
}

async function openRecorded(io: CommandIo, input: Input): Promise<Recorded> {
  const file = input.text("from");
  const since = instant(io, input, "since") ?? (file === undefined ? io.now() - dayMs : undefined);
  const until = instant(io, input, "until");
  if (file !== undefined) return recordedInFile(file, since, until);
  const operator = await connectOperator(io, input);
  const iso = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms).toISOString());
  const query = queryOf({ kinds: replayKinds.join(","), since: iso(since), until: iso(until) });
  return {
    records: () => parsed(operator.lines(`/v1/records/history${query}`, new AbortController().signal, () => undefined)),
    recall: recallFrom(operator),
    close: () => operator.close(),
  };
}

const dayMs = 24 * 3_600_000;

function instant(io: CommandIo, input: Input, option: string): number | undefined {
  const text = timeOption(io, input, option);
  const at = text === undefined ? undefined : Date.parse(text);
  if (at === undefined || !Number.isNaN(at)) return at;
  throw new WayleaveError(
    "invalid_request",
    `--${option} is a duration (24h, 7d) or an ISO 8601 time, not ${JSON.stringify(text)}.`,
  );
}

/** Facts and suspensions of one session that are looked at: the newest ones say how it was. */
const recalled = "200";

function recallFrom(operator: Operator): Recall {
  const ask = async (query: Readonly<Record<string, string>>) =>
    (await operator.get<{ records: readonly AuditRecord[] }>(`/v1/records${queryOf(query)}`)).records;
  return async (session, before) => {
    const [opened, later] = await Promise.all([
      ask({ session, before, kind: "session.opened", limit: "1" }),
      ask({ session, before, kinds: "facts.read,session.suspended,session.resumed", limit: recalled }),
    ]);
    return [...opened, ...later.toReversed()];
  };
}

/** What is before the file's first record nobody knows. */
function recordedInFile(file: string, since: number | undefined, until: number | undefined): Recorded {
  return {
    async *records() {
      const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY });
      for await (const record of parsed(inFile(lines, file))) {
        const at = Date.parse(record.time);
        if ((since === undefined || at >= since) && (until === undefined || at < until)) yield record;
      }
    },
    recall: async () => [],
    close: async () => undefined,
  };
}

async function* inFile(lines: AsyncIterable<string>, file: string): AsyncGenerator<string> {
  try {
    yield* lines;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : "unknown";
    throw new WayleaveError("invalid_request", `${file} cannot be read: ${why}. Give a file of records, one a line.`, {
      cause,
    });
  }
}

async function* parsed(lines: AsyncIterable<string>): AsyncGenerator<AuditRecord> {
  for await (const line of lines) {
    if (line.trim() === "") continue;
    const record = readRecord(line);
    if (record === undefined) {
      throw new WayleaveError(
        "invalid_request",
        "A line is no audit record; give records as JSON lines, oldest first.",
      );
    }
    yield record;
  }
}

function readRecord(line: string): AuditRecord | undefined {
  try {
    const record = JSON.parse(line) as Partial<AuditRecord> | null;
    const whole = typeof record?.kind === "string" && typeof record.time === "string" && typeof record.id === "string";
    return whole ? (record as AuditRecord) : undefined;
  } catch {
    return undefined;
  }
}

/** Requests between two looks at the clock. */
const every = 5_000;

function progressOn({ stderr }: CommandIo): { look(requests: number): void; end(): void } {
  if (stderr.isTTY !== true) return { look: () => undefined, end: () => undefined };
  let shown = 0;
  return {
    look(requests) {
      if (requests - shown < every) return;
      shown = requests;
      stderr.write(`\r${thousands(requests)} requests …`);
    },
    end: () => void (shown > 0 && stderr.write("\r\u001b[K")),
  };
}
