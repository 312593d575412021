import { writeFile } from "node:fs/promises";
import type { ProjectIdsResponse } from "../api/contract.ts";
import { WayleaveError } from "../core/errors.ts";
import type { CliCommand, Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { connectOperator } from "./operator.ts";
import { compilePolicy, policyOptions, policyPath } from "./policy-source.ts";
import { count, painter, printable } from "./terminal.ts";

export const policyLock: CliCommand = {
  path: ["policy", "lock"],
  summary: "pin project paths to their ids in wayleave.lock",
  details: [
    "A path whose id is another one is refused, because somebody else may have registered it again. Without arguments each " +
      "project that policy names by its path is pinned, to the id that the running broker reads from the CI's API or saw first; " +
      "what cannot be known is said. A pin that is there is kept: set it by hand to change it. Commit the file beside the policy.",
    "With --check nothing is written or asked: the exit status is 3 where policy names a project that is not pinned, or a pin " +
      "is of a project it names no more.",
  ],
  args: [{ spec: "[pins...]", doc: "pins to set by hand: gitlab/acme/shop=1042" }],
  options: [
    { spec: "--check", doc: "only say whether the lock file is complete, for CI" },
    { spec: "--policy <path>", doc: "policy file or folder (default: `policy` of the configuration)" },
    ...policyOptions,
  ],
  examples: ["policy lock", "policy lock --check", "policy lock gitlab/acme/shop=1042"],
  async run(io, input) {
    const path = await policyPath(io, input, input.text("policy"));
    const [{ model, issuers }, { lockPath }, { renderLock }, { namedProjects }] = await Promise.all([
      compilePolicy(io, input, path),
      import("../config/policy-files.ts"),
      import("../policy/lock.ts"),
      import("../policy/named-projects.ts"),
    ]);
    const named = namedProjects(model, issuers);
    const missing = named.filter((project) => !Object.hasOwn(model.pins, project));
    const unnamed = Object.keys(model.pins).filter((project) => !named.includes(project));
    if (input.flag("check")) return checkLock(io, named.length, missing, unnamed);
    const byHand = input.args.map(parsePin);
    const found = byHand.length > 0 ? [] : await askIds(io, input, named);
    const fresh = found.flatMap(({ project, id, problem }): [string, string][] =>
      id === undefined || problem !== undefined || Object.hasOwn(model.pins, project) ? [] : [[project, id]],
    );
    const pins = { ...model.pins, ...Object.fromEntries(fresh), ...Object.fromEntries(byHand) };
    const file = await lockPath(path);
    await writeFile(file, renderLock(pins));
    io.stdout.write(`${file}: ${count(Object.keys(pins).length, "project")} pinned\n`);
    const troubles = found.flatMap((each) => troubleOf(each, model.pins[each.project]));
    for (const line of troubles)
      io.stderr.write(`${painter(io, io.stderr)("yellow", "not pinned")}  ${printable(line)}\n`);
    return troubles.length === 0 ? 0 : 3;
  },
};

function checkLock(
  io: Pick<CommandIo, "stdout" | "stderr">,
  named: number,
  missing: readonly string[],
  unnamed: readonly string[],
): number {
  for (const project of missing) io.stderr.write(`${project} is not pinned\n`);
  for (const project of unnamed) io.stderr.write(`${project} is pinned, and policy names it no more\n`);
  if (missing.length + unnamed.length > 0) {
    io.stderr.write("wayleave: the lock file is not what policy needs. Run `wayleave policy lock` and commit it.\n");
    return 3;
  }
  io.stdout.write(`${count(named, "project")} named, all pinned\n`);
  return 0;
}

/** Throws `broker_unreachable` where none runs here: only it has the CIs' credentials and records. */
async function askIds(
  io: CommandIo,
  input: Input,
  projects: readonly string[],
): Promise<ProjectIdsResponse["projects"]> {
  const operator = await connectOperator(io, input);
  try {
    const { projects: found } = await operator.post<ProjectIdsResponse>("/v1/projects/ids", { projects });
    return found;
  } finally {
    await operator.close();
  }
}

type Found = ProjectIdsResponse["projects"][number];

/** Why a project is not pinned, or is pinned to what it no longer is. */
function troubleOf({ project, id, problem }: Found, pinned: string | undefined): readonly string[] {
  if (pinned !== undefined) {
    if (id === undefined || id === pinned) return [];
    return [
      `${project} is ${id} now and stays pinned to ${pinned}; if that is meant: wayleave policy lock ${project}=${id}`,
    ];
  }
  return problem === undefined ? [] : [`${project}: ${problem}; by hand: wayleave policy lock ${project}=<id>`];
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
