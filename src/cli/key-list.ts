import type { KeyHolder, KeySummary, KeysResponse } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { clockTime } from "./key-text.ts";
import { connectOperator } from "./operator.ts";
import { labelled, painter, printable, table } from "./terminal.ts";

export const keyList: CliCommand = {
  path: ["key", "list"],
  summary: "list signing keys, and the gateways that keep copies of them",
  details: ["Shows the keys that are published, and those that were revoked. Times are UTC."],
  options: [{ spec: "--all", doc: "retired keys too" }, ...operatorOptions, jsonOption],
  examples: ["key list", "key list --all --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const { keys, gateways } = await operator.get<KeysResponse>("/v1/keys");
      const shown = input.flag("all") ? keys : keys.filter(({ state }) => state !== "retired");
      if (input.flag("json")) printJson(io, { keys: shown, gateways });
      else {
        const paint = painter(io, io.stdout);
        const rows = shown.map((key) => row(key, io.now()));
        io.stdout.write(table(paint, ["class", "state", "", "kid", "created"], rows));
        if (gateways.length > 0) io.stdout.write(`\n${labelled(paint, gateways.map(held))}`);
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};

function row(key: KeySummary, nowMs: number): readonly string[] {
  const cells = [key.class, key.state, moment(key, nowMs), key.kid, key.created_at.slice(0, 10)];
  return cells.map(printable);
}

/** The one moment that matters next. */
function moment({ state, usable_at, last_token_expires_at }: KeySummary, nowMs: number): string {
  if (state === "prepared") return Date.parse(usable_at ?? "") <= nowMs ? "may sign" : `from ${time(usable_at, nowMs)}`;
  return state === "retiring" ? `until ${time(last_token_expires_at, nowMs)}` : "";
}

function time(iso: string | undefined, nowMs: number): string {
  return clockTime(iso, nowMs).replace(" UTC", "");
}

function held({ gateway, kind, class: keyClass, note }: KeyHolder): { label: string; text: string } {
  return { label: "gateway", text: printable(`${gateway} (${kind}) checks ${keyClass} keys: ${note}`) };
}
