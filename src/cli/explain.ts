import type { ExplainResponse } from "../api/contract.ts";
import { type CliCommand, caOption, type Input, jsonOption, operatorOptions, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { connectOperator } from "./operator.ts";
import { refusalText } from "./refusal.ts";
import { painter } from "./terminal.ts";

export const explain: CliCommand = {
  path: ["explain"],
  summary: "say why a request was let through or refused",
  details: ["Inside a CI job it asks for the job's own records; elsewhere it asks the broker of the configuration."],
  args: [{ spec: "<record>", doc: "a record id, rec_…" }],
  options: [jsonOption, ...operatorOptions, caOption],
  examples: ["explain rec_00000000001k"],
  async run(io, input) {
    const record = input.args[0] ?? "";
    const { isCiJob } = await import("./job/ci-job.ts");
    const inJob = input.text("config") === undefined && isCiJob(io);
    const explained = (inJob ? await ofJob(io, record, input) : undefined) ?? (await ofBroker(io, record, input));
    if (input.flag("json")) printJson(io, explained);
    else {
      // This is the explanation that `details` points to.
      const lines = explained.lines.filter(({ label }) => label !== "details");
      io.stdout.write(refusalText(painter(io, io.stdout), { ...explained, lines }, ""));
    }
    return 0;
  },
};

/** By the job's own handle; undefined where the job has no session. */
async function ofJob(io: CommandIo, record: string, input: Input): Promise<ExplainResponse | undefined> {
  const [{ HandleFolder }, { ciJob }, { Broker }, { importProofKey }, { trustedCa }, { retrying }] = await Promise.all([
    import("./job/handle.ts"),
    import("./job/ci-job.ts"),
    import("./job/broker.ts"),
    import("./job/proof-key.ts"),
    import("./job/trust.ts"),
    import("./job/retry.ts"),
  ]);
  const handle = new HandleFolder(io, ciJob(io)).read();
  if (handle?.credential === undefined) return undefined;
  const { brokerUrl, trace, sessionId, credential } = handle;
  const broker = new Broker({ url: brokerUrl, ca: trustedCa(io, input.text("caFile")), now: io.now, trace });
  const caller = { key: importProofKey(credential.key), sessionId, refreshToken: credential.refreshToken };
  try {
    return await retrying(io, () => broker.explain(caller, record));
  } finally {
    await broker.close();
  }
}

async function ofBroker(io: CommandIo, record: string, input: Input): Promise<ExplainResponse> {
  const operator = await connectOperator(io, input);
  try {
    return await operator.get<ExplainResponse>(`/v1/records/${encodeURIComponent(record)}/explain`);
  } finally {
    await operator.close();
  }
}
