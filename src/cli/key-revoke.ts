import type { KeyRevocationResponse } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { classArgument, clockTime, keyPath, keyText, kidArgument } from "./key-text.ts";
import { connectOperator } from "./operator.ts";
import { painter } from "./terminal.ts";

export const keyRevoke: CliCommand = {
  path: ["key", "revoke"],
  summary: "refuse everything a key ever signed, at once and for good",
  details: [
    "For a key that leaked. If it signs, the prepared key takes over, or a new one is made. Jobs that hold a token of it are refused until they have another.",
  ],
  args: [classArgument, kidArgument],
  options: [...operatorOptions, jsonOption],
  examples: ["key revoke access-token NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.post<KeyRevocationResponse>(keyPath(input, "revoke"), {});
      if (input.flag("json")) printJson(io, found);
      else {
        const { key, gateways } = found;
        const lines = [
          { label: "refused", text: refused(found, io.now()) },
          { label: "signing", text: signing(found, io.now()) },
        ];
        io.stdout.write(keyText(painter(io, io.stdout), key, lines, gateways));
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};

function refused({ forgotten_at }: KeyRevocationResponse, nowMs: number): string {
  return `now, wherever Wayleave is asked; kept key sets forget it by ${clockTime(forgotten_at, nowMs)}`;
}

function signing({ key, signing: heir, signing_known_at }: KeyRevocationResponse, nowMs: number): string {
  if (heir === undefined)
    return `no ${key.class} key: none could be made yet, so nothing is minted; see the broker's log`;
  const known =
    Date.parse(signing_known_at ?? "") <= nowMs ? "" : `, known to them by ${clockTime(signing_known_at, nowMs)}`;
  return `${heir.kid}${known}`;
}
