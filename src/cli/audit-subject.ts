import { WayleaveError } from "../core/errors.ts";
import { natsSubjectMatcher, parseNatsMessage } from "../core/nats-message.ts";
import type { AuditRecord } from "../core/record.ts";
import { filterQuery } from "./audit-filter.ts";
import { type Input, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import type { Operator } from "./operator.ts";
import { lineWidth, type Paint, painter, printable } from "./terminal.ts";
import { timeOption } from "./time-option.ts";

/** Lines to print, where nothing else is asked. */
const defaultLimit = 50;

/** One look through the log takes no longer; ms. */
const lookMs = 10_000;

/** Records looked at with one question. */
const page = "1000";

type Published = AuditRecord & { readonly kind: "nats.published" };

/** Messages of one record on one subject, and who sent them. */
interface Sent {
  readonly record: Published;
  readonly subject: string;
  /** Number of the first and last of them on their connection. */
  readonly first: number;
  readonly last: number;
  readonly messages: number;
  /** Headers and payloads. */
  readonly bytes: number;
}

interface Look {
  readonly sent: readonly Sent[];
  /** The last record that was looked at, where older ones were not. */
  readonly from?: Published;
}

/** Newest first: which job published what to a subject. The messages themselves are looked through, as far as time allows. */
export async function listSubject(io: CommandIo, input: Input, operator: Operator, subject: string): Promise<void> {
  const { sent, from } = await look(io, input, operator, subject);
  if (input.flag("json"))
    printJson(io, { messages: sent.map(toJson), ...(from === undefined ? {} : { before: from.id }) });
  else
    io.stdout.write(
      subjectText(painter(io, io.stdout), { sent, ...(from === undefined ? {} : { from }) }, io.stdout.isTTY === true),
    );
}

/** Whole records, until there are lines enough, no older records, or no time. */
async function look(io: CommandIo, input: Input, operator: Operator, subject: string): Promise<Look> {
  const limit = limitOf(input.text("limit"));
  const until = io.now() + lookMs;
  const sent: Sent[] = [];
  for (let before = input.text("before"); ; ) {
    const window = { since: timeOption(io, input, "since"), until: timeOption(io, input, "until"), limit: page };
    const query = filterQuery(input, { ...window, before, subject });
    const { records } = await operator.get<{ records: readonly Published[] }>(`/v1/records${query}`);
    if (records.length === 0) return { sent };
    for (const record of records) {
      sent.push(...sentOf(record, natsSubjectMatcher(subject)));
      if (sent.length >= limit) return { sent, from: record };
    }
    const from = records.at(-1) as Published;
    if (io.now() >= until) return { sent, from };
    before = from.id;
  }
}

function limitOf(text: string | undefined): number {
  const limit = text === undefined ? defaultLimit : Number(text);
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new WayleaveError("invalid_request", `--limit ${JSON.stringify(text)} is no number of lines.`);
}

function sentOf(record: Published, matches: (subject: string) => boolean): readonly Sent[] {
  const found = new Map<string, Sent>();
  for (const [at, text] of record.data.messages.entries()) {
    const message = parseNatsMessage(text);
    if (message === undefined || !matches(message.subject)) continue;
    const number = record.data.first + at;
    const { subject } = message;
    const { first, messages, bytes } = found.get(subject) ?? { first: number, messages: 0, bytes: 0 };
    const size = message.headers + message.payload;
    found.set(subject, { record, subject, first, last: number, messages: messages + 1, bytes: bytes + size });
  }
  return [...found.values()].toReversed();
}

function toJson({ record, ...sent }: Sent) {
  const { id, time, session, job, data } = record;
  const { gateway, connection, target, account } = data;
  return { record: id, time, session, job, gateway, connection, target, account, ...sent };
}

function subjectText(paint: Paint, { sent, from }: Look, cut: boolean): string {
  const lines = sent.map(({ record, subject, messages }) => {
    const { job, session = "" } = record;
    const who = job === undefined ? session : `${job.project} ${job.job_name ?? "job"} #${job.job_id}`;
    const time = record.time.slice(0, 19).replace("T", " ");
    const many = messages === 1 ? "" : ` ×${messages.toLocaleString("en-US")}`;
    const text = printable(`${record.id}  ${who}  ${subject}${many}`);
    const room = lineWidth - time.length - 2;
    return `${paint("dim", time)}  ${cut && text.length > room ? `${text.slice(0, room - 1)}…` : text}\n`;
  });
  const end =
    from === undefined
      ? ""
      : `Older records were not looked at: this went back to ${from.time}. Go on with --before ${from.id}\n`;
  return `${lines.length === 0 ? "nobody published to it\n" : lines.join("")}${end}`;
}
