import type { AuditRecord } from "../core/record.ts";
import { type CliCommand, operatorOptions, printJson } from "./command.ts";
import { connectOperator } from "./operator.ts";

export const auditShow: CliCommand = {
  path: ["audit", "show"],
  summary: "print one record as it is kept, as JSON",
  args: [{ spec: "<record>", doc: "a record id, rec_…" }],
  options: [...operatorOptions],
  examples: ["audit show rec_00000000001k"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      printJson(io, await operator.get<AuditRecord>(`/v1/records/${encodeURIComponent(input.args[0] ?? "")}`));
      return 0;
    } finally {
      await operator.close();
    }
  },
};
