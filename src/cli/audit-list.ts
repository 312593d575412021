import type { AuditRecord } from "../core/record.ts";
import { filterOptions, filterQuery, recordLine } from "./audit-filter.ts";
import { listNats } from "./audit-nats.ts";
import { listSubject } from "./audit-subject.ts";
import { type CliCommand, type Input, jsonOption, operatorOptions, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { connectOperator, type Operator } from "./operator.ts";
import { timeOption } from "./time-option.ts";

export const auditList: CliCommand = {
  path: ["audit", "list"],
  summary: "list records, newest first",
  options: [
    ...filterOptions,
    { spec: "--since <time>", doc: "from this time on: ISO 8601, or so long ago (15m, 6h, 1d)" },
    { spec: "--until <time>", doc: "up to this time, written likewise" },
    { spec: "--before <record>", doc: "older than this record: the next page" },
    { spec: "--limit <n>", doc: "at most so many (default: 50)" },
    { spec: "--nats", doc: "all that --job or --session did over NATS, message by message, oldest first" },
    { spec: "--fold", doc: "with --nats: messages in a row to one subject on one line" },
    { spec: "--subject <pattern>", doc: "who published to a NATS subject; * is one token, > the rest" },
    ...operatorOptions,
    jsonOption,
  ],
  examples: [
    "audit list --session ses_0123456789abcdef",
    "audit list --effect deny --since 6h --json",
    "audit list --job 7712 --nats",
    "audit list --subject 'build.status.7.>'",
  ],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const subject = input.text("subject");
      if (input.flag("nats")) await listNats(io, input, operator);
      else if (subject !== undefined) await listSubject(io, input, operator, subject);
      else await listRecords(io, input, operator);
      return 0;
    } finally {
      await operator.close();
    }
  },
};

/** Newest first, one a line. */
export async function listRecords(io: CommandIo, input: Input, operator: Operator): Promise<void> {
  if (input.flag("json")) return printJson(io, { records: await wholeRecords(io, input, operator) });
  const { records } = await operator.get<Page>(`/v1/records${pageQuery(io, input, { brief: "true" })}`);
  if (records.length === 0) io.stdout.write("no records\n");
  else io.stdout.write(records.map((record) => recordLine(io, record)).join(""));
}

interface Page {
  readonly records: readonly AuditRecord[];
}

const pageQuery = (io: CommandIo, input: Input, more: Readonly<Record<string, string | undefined>>): string =>
  filterQuery(input, {
    since: timeOption(io, input, "since"),
    until: timeOption(io, input, "until"),
    before: input.text("before"),
    limit: input.text("limit"),
    ...more,
  });

/** As many as were asked for: of records with thousands of messages the broker answers with fewer at a time. */
async function wholeRecords(io: CommandIo, input: Input, operator: Operator): Promise<readonly AuditRecord[]> {
  const wanted = Number(input.text("limit") ?? 50);
  const found: AuditRecord[] = [];
  for (let more: Readonly<Record<string, string>> = {}; ; ) {
    const { records } = await operator.get<Page>(`/v1/records${pageQuery(io, input, more)}`);
    found.push(...records);
    const last = found.at(-1);
    if (last === undefined || found.length >= wanted || !records.some(isLong)) return found;
    more = { before: last.id, limit: String(wanted - found.length) };
  }
}

const isLong = ({ kind }: AuditRecord): boolean => kind === "nats.published" || kind === "nats.delivered";
