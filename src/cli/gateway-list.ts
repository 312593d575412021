import type { GatewaySummary, GatewaysResponse } from "../gateway/gateway-summary.ts";
import { breakglassText } from "./breakglass-text.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { connectOperator } from "./operator.ts";
import { count, labelled, painter, printable, table } from "./terminal.ts";

export const gatewayList: CliCommand = {
  path: ["gateway", "list"],
  summary: "list gateways, and the policy each one enforces",
  details: [
    "A native gateway enforces the policy its configuration was rendered from; a change of policy is in force there once " +
      "it says so: `current`. One that asks for every request always enforces the current one. `ended sessions` is how " +
      "old the newest list of ended sessions is that it acknowledged.",
  ],
  options: [...operatorOptions, jsonOption],
  examples: ["gateway list", "gateway list --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const answer = await operator.get<GatewaysResponse>("/v1/gateways");
      const { gateways, breakglass = [] } = answer;
      if (input.flag("json")) printJson(io, answer);
      else if (gateways.length === 0) io.stdout.write("no gateways: list them under `gateways` in the configuration\n");
      else io.stdout.write(report(io, gateways));
      if (!input.flag("json")) io.stdout.write(breakglassText(painter(io, io.stdout), breakglass));
      return 0;
    } finally {
      await operator.close();
    }
  },
};

const head = ["name", "kind", "mode", "targets", "policy", "last heard", "ended sessions"];

/** The table, and below it whatever does not fit into a column. */
function report(io: CommandIo, gateways: readonly GatewaySummary[]): string {
  const paint = painter(io, io.stdout);
  const rows = gateways.map((gateway) => row(gateway, io.now()));
  const notes = gateways.flatMap(({ name, notes: each }) =>
    each.map((text) => ({ label: printable(name), text: printable(text) })),
  );
  return table(paint, head, rows) + (notes.length === 0 ? "" : `\n${labelled(paint, notes)}`);
}

function row(gateway: GatewaySummary, now: number): readonly string[] {
  const { name, kind, mode, targets, policy, last_heard: heard, acknowledged_seconds: acknowledged } = gateway;
  return [
    name,
    kind,
    mode === "native" ? "native" : "call-out",
    listed(targets),
    policy,
    heard === undefined ? "never" : ago((now - Date.parse(heard)) / 1000),
    acknowledged === undefined ? "-" : ago(acknowledged),
  ].map(printable);
}

/** So many fit; the rest is counted. */
const shownTargets = 3;

function listed(targets: readonly string[]): string {
  const more = targets.length - shownTargets;
  return more > 0 ? `${targets.slice(0, shownTargets).join(",")} +${more}` : targets.join(",");
}

function ago(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s ago`;
  if (whole < 7200) return `${Math.round(whole / 60)} min ago`;
  return `${count(Math.round(whole / 3600), "hour")} ago`;
}
