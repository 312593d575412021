import type { KeyResponse, KeyRevocationResponse, KeysResponse } from "../api/contract.ts";
import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, type Input, jsonOption, operatorOptions, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { classArgument, clockTime, keyText, retiringLines, revocationLines } from "./key-text.ts";
import { connectOperator, type Operator } from "./operator.ts";
import { painter } from "./terminal.ts";

export const keyRotate: CliCommand = {
  path: ["key", "rotate"],
  summary: "replace the key of a class: prepare, wait until every gateway knows it, activate",
  details: [
    "The old key stays published until its last token has expired, and retires by itself. No good request is refused meanwhile. " +
      "Stopped while it waits, nothing is lost: the same command goes on where it was.",
    "With --emergency, for a key that leaked, nothing is waited for: what the key signed is refused at once and for good, and jobs " +
      "that hold a token of it get another.",
  ],
  args: [classArgument],
  options: [
    { spec: "--because <reason>", doc: "why, for the records (required)" },
    { spec: "--emergency", doc: "revoke the key that signs now, and sign with another at once" },
    { spec: "--prepare-only", doc: "publish the new key, and say when to run this again" },
    ...operatorOptions,
    jsonOption,
  ],
  examples: [
    'key rotate access-token --because "quarterly rotation"',
    'key rotate access-token --emergency --because "found in a backup that was sold"',
  ],
  async run(io, input) {
    const because = reasonOf(input);
    const operator = await connectOperator(io, input);
    try {
      return await (input.flag("emergency")
        ? revoke(io, input, operator, because)
        : replace(io, input, operator, because));
    } finally {
      await operator.close();
    }
  },
};

function reasonOf(input: Input): string {
  const because = input.text("because")?.trim();
  if (because) return because;
  throw new WayleaveError("invalid_request", 'Say why: --because "quarterly rotation". It goes into the records.');
}

const path = (input: Input, ...rest: readonly string[]) =>
  `/v1/keys/${[...input.args, ...rest].map(encodeURIComponent).join("/")}`;

async function replace(io: CommandIo, input: Input, operator: Operator, because: string): Promise<number> {
  const json = input.flag("json");
  const paint = painter(io, io.stdout);
  const prepared = await operator.post<KeyResponse>(path(input, "prepare"), { because });
  const { key, gateways } = prepared;
  const usableAt = Date.parse(key.usable_at ?? "");
  const waitMs = Math.max(0, usableAt - io.now());
  const stops = input.flag("prepareOnly") && waitMs > 0;
  if (!json) {
    const when = clockTime(key.usable_at, io.now());
    const lines = [
      { label: "published", text: "it does not sign yet: gateways that keep key sets must learn it first" },
      {
        label: "signs",
        text: waitMs === 0 ? "now: they have had the time" : `from ${when}, when the slowest has asked again`,
      },
      ...(stops ? [{ label: "next", text: `after that: run this command again` }] : []),
    ];
    io.stdout.write(keyText(paint, key, lines, gateways));
  }
  if (stops) {
    if (json) printJson(io, prepared);
    return 0;
  }
  // To the second, never early, as the broker counts.
  await io.pause(waitMs + 50);
  const active = await operator.post<KeyResponse>(path(input, "activate"), { because });
  if (json) printJson(io, active);
  else io.stdout.write(keyText(paint, active.key, retiringLines(active.keys, io.now())));
  return 0;
}

async function revoke(io: CommandIo, input: Input, operator: Operator, because: string): Promise<number> {
  const { keys } = await operator.get<KeysResponse>("/v1/keys");
  const signing = keys.find((key) => key.class === input.args[0] && key.state === "active");
  if (signing === undefined)
    throw new WayleaveError("key_not_found", `No ${input.args[0]} key signs now; see \`wayleave key list\`.`);
  const found = await operator.post<KeyRevocationResponse>(path(input, signing.kid, "revoke"), { because });
  if (input.flag("json")) printJson(io, found);
  else io.stdout.write(keyText(painter(io, io.stdout), found.key, revocationLines(found, io.now()), found.gateways));
  return 0;
}
