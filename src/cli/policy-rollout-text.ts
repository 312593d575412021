import type { RolloutResponse } from "../api/contract.ts";
import { thousands } from "./audit-nats-text.ts";
import { type CliWord, configOption, type Input, jsonOption, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { clockTime } from "./key-text.ts";
import { connectOperator, type Operator } from "./operator.ts";
import { count, labelled, type Paint, painter, printable, table } from "./terminal.ts";

export const rolloutOptions: readonly CliWord[] = [configOption, jsonOption];
export const meantOption: CliWord = {
  spec: "--version <version>",
  doc: "only where the candidate is this one: 6 or more characters of its version",
};

/** One verb: asks, prints its one line and what is in force then, or the data. */
export async function runVerb(
  io: CommandIo,
  input: Input,
  ask: (operator: Operator) => Promise<RolloutResponse>,
  verdict: (found: RolloutResponse) => string,
): Promise<number> {
  const operator = await connectOperator(io, input);
  try {
    const found = await ask(operator);
    if (input.flag("json")) printJson(io, found);
    else {
      const paint = painter(io, io.stdout);
      io.stdout.write(`${paint("bold", printable(verdict(found)))}\n${rolloutLines(paint, found, io.now())}`);
    }
    return 0;
  } finally {
    await operator.close();
  }
}

/** The version of `--version`, as requests carry it. */
export function meantBody(input: Input): { readonly version?: string } {
  const version = input.text("version");
  return version === undefined ? {} : { version };
}

const hows = { loaded: "loaded from its files", promoted: "promoted", rolled_back: "rolled back to" } as const;

/** What decides, what is tried and what the files say, one line each. */
export function rolloutLines(paint: Paint, found: RolloutResponse, now: number): string {
  const { active, disk, candidate, canary } = found;
  const lines = [
    {
      label: "in force",
      text: `${active.version} since ${clockTime(active.since, now)}, ${hows[active.how]}${byWhom(active.by)}; ${sizeText(active)}`,
    },
    ...(active.replaces === undefined ? [] : [{ label: "before it", text: active.replaces }]),
    ...(disk.set_aside
      ? [{ label: "on disk", text: `${disk.version}: set aside until the files say something else` }]
      : []),
    ...(disk.problem === undefined ? [] : [{ label: "on disk", text: `refused: ${disk.problem}` }]),
    ...(candidate === undefined
      ? []
      : [
          {
            label: "candidate",
            text: `${candidate.version} since ${clockTime(candidate.since, now)}, proposed${byWhom(candidate.by)}; ${sizeText(candidate)}`,
          },
        ]),
    ...(candidate === undefined || candidate.faults === 0
      ? []
      : [{ label: "faults", text: `it failed ${times(candidate.faults)}; see the broker's log` }]),
    ...(canary === undefined ? [] : [{ label: "canary", text: canaryText(canary) }]),
    ...(candidate === undefined ? [] : [{ label: "differs", text: differsText(found) }]),
  ];
  return labelled(
    paint,
    lines.map(({ label, text }) => ({ label, text: printable(text) })),
  );
}

function canaryText({ projects, share, sessions }: NonNullable<RolloutResponse["canary"]>): string {
  const rest = share > 0 ? [`${share} % of all ${projects.length > 0 ? "other " : ""}projects`] : [];
  const who = [...projects, ...rest].join(", ");
  if (who === "") return "nobody: the candidate decides nothing";
  return `${who}: it decides for ${count(sessions, "living session")}`;
}

const byWhom = (by: string | undefined): string => (by === undefined || by === "" ? "" : ` by ${by}`);
const sizeText = ({ roles, targets }: { readonly roles: number; readonly targets: number }): string =>
  `${count(roles, "role")}, ${count(targets, "target")}`;
const times = (n: number): string => (n === 1 ? "once" : `${thousands(n)} times`);

export const effectWords = {
  newly_denied: "newly denied",
  newly_allowed: "newly allowed",
  passes_differently: "passes, otherwise judged",
} as const;

function differsText({ disagreements }: RolloutResponse): string {
  const total = disagreements.reduce((sum, each) => sum + each.count, 0);
  if (total === 0) return "on no request so far";
  const parts = (Object.keys(effectWords) as (keyof typeof effectWords)[]).flatMap((effect) => {
    const some = disagreements.filter((each) => each.effect === effect).reduce((sum, each) => sum + each.count, 0);
    return some === 0 ? [] : [`${thousands(some)} ${effectWords[effect]}`];
  });
  return `on ${thousands(total)} requests: ${parts.join(", ")}`;
}

/** Where the two differ, most first. */
export function disagreementTable(paint: Paint, { disagreements }: RolloutResponse, now: number): string {
  const rows = disagreements.map(({ effect, target, role, reason, count: n, last }) =>
    [effectWords[effect], target, role || "-", reason, thousands(n), clockTime(last, now)].map(printable),
  );
  return table(paint, ["effect", "target", "role", "because", "requests", "last"], rows);
}
