import type { AuditRecord } from "../core/record.ts";
import { filterOptions, filterQuery, recordLine } from "./audit-filter.ts";
import { type CliCommand, configOption, jsonOption, printJson } from "./command.ts";
import { connectOperator } from "./operator.ts";

export const auditList: CliCommand = {
  path: ["audit", "list"],
  summary: "list records, newest first",
  options: [
    ...filterOptions,
    { spec: "--since <time>", doc: "from this ISO 8601 time on" },
    { spec: "--until <time>", doc: "up to this ISO 8601 time" },
    { spec: "--before <record>", doc: "older than this record: the next page" },
    { spec: "--limit <n>", doc: "at most so many (default: 50)" },
    configOption,
    jsonOption,
  ],
  examples: [
    "audit list --session ses_0123456789abcdef",
    "audit list --effect deny --since 2026-11-24T09:00:00Z --json",
  ],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const page = {
        since: input.text("since"),
        until: input.text("until"),
        before: input.text("before"),
        limit: input.text("limit"),
      };
      const { records } = await operator.get<{ records: readonly AuditRecord[] }>(
        `/v1/records${filterQuery(input, page)}`,
      );
      if (input.flag("json")) printJson(io, { records });
      else if (records.length === 0) io.stdout.write("no records\n");
      else io.stdout.write(records.map((record) => recordLine(io, record)).join(""));
      return 0;
    } finally {
      await operator.close();
    }
  },
};
