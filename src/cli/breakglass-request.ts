import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { parseDuration } from "../config/duration.ts";
import { WayleaveError } from "../core/errors.ts";
import { encodeBase32 } from "../core/ids.ts";
import { makeRequest } from "../gateway/breakglass/request.ts";
import { writeRequestFile } from "./breakglass-files.ts";
import { requestText } from "./breakglass-show.ts";
import { type CliCommand, configOption, type Input } from "./command.ts";
import { loadWholeConfig } from "./load-config.ts";

export const breakglassRequest: CliCommand = {
  path: ["breakglass", "request"],
  summary: "write down what two people are to sign",
  details: [
    "Names targets, gateways, the time and why. It opens nothing yet: two listed people sign it, then it is used.",
  ],
  options: [
    { spec: "--target <name...>", doc: "a target to open", repeats: true },
    {
      spec: "--gateway <name...>",
      doc: "the gateway to open it at (default: each that fronts it and has a responder)",
      repeats: true,
    },
    { spec: "--reason <text>", doc: "why, in 10 to 300 characters; it is recorded" },
    { spec: "--for <duration>", doc: "how long, at most 1h (default: 30m)" },
    { spec: "--in <duration>", doc: "how long from now it starts (default: now)" },
    { spec: "--broker <url>", doc: "the broker's `issuer`, where there is no wayleave.yaml" },
    { spec: "--out <file>", doc: "where to write (default: ./<id>.json)" },
    configOption,
  ],
  examples: ['breakglass request --target billing --for 30m --reason "broker lost its disk"'],
  async run(io, input) {
    const { broker, gateways } = await placeOf(io, input);
    const starts = Math.floor((io.now() + durationOf(input, "in", "0s")) / 1000);
    const request = makeRequest({
      id: `bg_${encodeBase32(randomBytes(10))}`,
      broker,
      gateways: [...gateways],
      targets: [...input.list("target")],
      reason: input.text("reason") ?? "",
      starts_at: starts,
      ends_at: starts + Math.floor(durationOf(input, "for", "30m") / 1000),
    });
    const file = resolve(io.cwd, input.text("out") ?? `${request.id}.json`);
    writeRequestFile(file, { request, signatures: [] });
    io.stderr.write(requestText(io, { request, signatures: [] }));
    io.stderr.write(`wayleave: two people sign it: wayleave breakglass sign ${file} --key <theirs>\n`);
    io.stdout.write(`${file}\n`);
    return 0;
  },
};

async function placeOf(io: Parameters<CliCommand["run"]>[0], input: Input) {
  const named = input.list("gateway");
  const given = input.text("broker");
  if (given !== undefined && named.length > 0) return { broker: given, gateways: named };
  const { issuer, gateways } = await loadWholeConfig(io, input);
  const targets = input.list("target");
  const fronting = gateways.filter(
    (one) => one.kind === "nginx" && one.breakglass !== undefined && one.targets.some((name) => targets.includes(name)),
  );
  return { broker: given ?? issuer, gateways: named.length > 0 ? named : fronting.map(({ name }) => name) };
}

function durationOf(input: Input, option: string, normal: string): number {
  const text = input.text(option) ?? normal;
  const ms = text === "0s" ? 0 : parseDuration(text);
  if (ms !== undefined) return ms;
  throw new WayleaveError("invalid_request", `--${option} must be a duration such as 30m or 1h.`);
}
