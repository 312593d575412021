import { writeFile } from "node:fs/promises";
import { WayleaveError } from "../core/errors.ts";
import type { AuditRecord } from "../core/record.ts";
import type { CliCommand } from "./command.ts";
import { connectOperator } from "./operator.ts";
import { compilePolicy, policyOptions, policyPath } from "./policy-source.ts";
import { count } from "./terminal.ts";

export const policyLock: CliCommand = {
  path: ["policy", "lock"],
  summary: "pin project paths to their ids in wayleave.lock",
  details: [
    "A path whose id is another one is refused, because somebody else may have registered it again. Without arguments the ids " +
      "that the running broker saw first are pinned. Commit the file beside the policy.",
  ],
  args: [{ spec: "[pins...]", doc: "pins to set by hand: gitlab/acme/shop=1042" }],
  options: [
    { spec: "--policy <path>", doc: "policy file or folder (default: `policy` of the configuration)" },
    ...policyOptions,
  ],
  examples: ["policy lock", "policy lock gitlab/acme/shop=1042"],
  async run(io, input) {
    const path = await policyPath(io, input, input.text("policy"));
    const [{ model }, { lockPath }, { renderLock }] = await Promise.all([
      compilePolicy(io, input, path),
      import("../config/policy-files.ts"),
      import("../policy/lock.ts"),
    ]);
    const byHand = input.args.map(parsePin);
    const operator = byHand.length > 0 ? undefined : await connectOperator(io, input);
    try {
      const answer = await operator?.get<{ records: readonly AuditRecord[] }>(
        "/v1/records?kind=project.pinned&limit=1000",
      );
      // Newest first: the id that was seen first is set last.
      const seen = (answer?.records ?? [])
        .toReversed()
        .flatMap((record) => (record.kind === "project.pinned" ? [pinOf(record)] : []));
      const pins = { ...Object.fromEntries(seen), ...model.pins, ...Object.fromEntries(byHand) };
      const file = await lockPath(path);
      await writeFile(file, renderLock(pins));
      io.stdout.write(`${file}: ${count(Object.keys(pins).length, "project")} pinned\n`);
      return 0;
    } finally {
      await operator?.close();
    }
  },
};

function pinOf({ data }: Extract<AuditRecord, { kind: "project.pinned" }>): [string, string] {
  return [`${data.issuer}/${data.path}`, data.id];
}

function parsePin(word: string): [string, string] {
  const [, path, id] = /^([a-z0-9-]{1,16}\/[^\s=]+)=([A-Za-z0-9-]+)$/.exec(word) ?? [];
  if (path === undefined || id === undefined) {
    throw new WayleaveError(
      "invalid_request",
      `${JSON.stringify(word)} is no pin. Write issuer/path=id: gitlab/acme/shop=1042.`,
    );
  }
  return [path, id];
}
