import type { AuditRecord } from "../core/record.ts";
import { filterOptions, filterQuery, recordLine } from "./audit-filter.ts";
import { type CliCommand, operatorOptions } from "./command.ts";
import { connectOperator } from "./operator.ts";

export const auditTail: CliCommand = {
  path: ["audit", "tail"],
  summary: "print records as they are made, until Ctrl-C",
  options: [...filterOptions, { spec: "--json", doc: "print each record as one line of JSON" }, ...operatorOptions],
  examples: ["audit tail --effect deny", "audit tail --project acme/shop --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    const stop = new AbortController();
    const onSignal = () => stop.abort();
    process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
    try {
      const opened = () => io.stderr.write("wayleave: waiting for records, until Ctrl-C\n");
      for await (const line of operator.lines(`/v1/records/stream${filterQuery(input)}`, stop.signal, opened)) {
        io.stdout.write(input.flag("json") ? `${line}\n` : recordLine(io, JSON.parse(line) as AuditRecord));
      }
      return 0;
    } finally {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      await operator.close();
    }
  },
};
