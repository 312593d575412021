import { type CliCommand, caOption, configOption, jsonOption, printJson } from "./command.ts";
import { type CheckResult, examine } from "./doctor-checks.ts";
import { lineWidth, type Paint, painter, printable, wrap } from "./terminal.ts";

export const doctor: CliCommand = {
  path: ["doctor"],
  summary: "check an installation, part by part",
  details: [
    "Looks at the configuration, the running broker, and the files and addresses that are named. What is not named is skipped.",
    "Exit status 3 when a check fails; notes and warnings alone are 0.",
  ],
  options: [
    { spec: "--nginx-conf <file>", doc: "an nginx.conf that includes what was rendered" },
    { spec: "--envoy-config <file>", doc: "an Envoy's configuration, YAML or JSON", repeats: true },
    { spec: "--resources <file>", doc: "Istio or Linkerd resources, YAML", repeats: true },
    { spec: "--certificate <file>", doc: "a PEM certificate chain that a gateway serves", repeats: true },
    { spec: "--probe <url>", doc: "a running gateway, to which requests are sent that it must refuse", repeats: true },
    caOption,
    configOption,
    jsonOption,
  ],
  examples: [
    "doctor",
    "doctor --nginx-conf /etc/nginx/nginx.conf --probe http://127.0.0.1:80",
    "doctor --envoy-config envoy.yaml --resources mesh.yaml --json",
  ],
  async run(io, input) {
    const { gatherFacts } = await import("./doctor-gather.ts");
    const results = examine(await gatherFacts(io, input));
    if (input.flag("json")) printJson(io, { checks: results });
    else io.stdout.write(doctorText(painter(io, io.stdout), results));
    return results.some(({ result }) => result === "fail") ? 3 : 0;
  },
};

const colours = { ok: "green", note: "cyan", warn: "yellow", fail: "red", skipped: "dim" } as const;
const nameWidth = 24;
const resultWidth = 9;
const indent = nameWidth + resultWidth;

/** One line for each check, and below it what is wrong and one fix for each. */
export function doctorText(paint: Paint, results: readonly CheckResult[]): string {
  const lines = results.flatMap((check) => checkLines(paint, check));
  const counts = (["ok", "note", "warn", "fail", "skipped"] as const).map(
    (result) => `${results.filter((check) => check.result === result).length} ${result}`,
  );
  return `${lines.join("\n")}\n\n${counts.join(", ")}\n`;
}

/** Findings shown of each check; all of them are in --json. */
const shown = 5;

function checkLines(paint: Paint, { name, result, findings: all, needs }: CheckResult): readonly string[] {
  // Each said once: several requests can have the same fate.
  const findings = [...new Map(all.map((finding) => [finding.says, finding])).values()];
  const texts =
    needs === undefined
      ? findings.slice(0, shown).flatMap(({ says, fix }) => [...fitted(says), ...fitted(`fix: ${fix}`)])
      : fitted(`needs ${needs}`);
  const more = findings.length > shown ? [`… ${findings.length - shown} more; --json has them`] : [];
  const [first = "", ...rest] = [...texts, ...more];
  const head = `${name.padEnd(nameWidth)}${paint(colours[result], result.padEnd(resultWidth))}${first}`.trimEnd();
  return [head, ...rest.map((line) => `${" ".repeat(indent)}${line}`)];
}

function fitted(text: string): readonly string[] {
  const width = lineWidth - indent;
  return wrap(printable(text), width).map((line) => (line.length > width ? `${line.slice(0, width - 1)}…` : line));
}
