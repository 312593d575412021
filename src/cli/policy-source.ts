import { relative, resolve } from "node:path";
import { WayleaveError } from "../core/errors.ts";
import type { IssuerType, Vocabulary } from "../core/identity.ts";
import type { Diagnostic, PolicyModel } from "../policy/model.ts";
import type { Policy } from "../policy/policy.ts";
import type { PolicySourceTexts } from "../policy/sources.ts";
import { type CliWord, configOption, configPath, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { isRevision, readRevision } from "./policy-revision.ts";
import { painter } from "./terminal.ts";

export const policyArgument: CliWord = {
  spec: "[path]",
  doc: "policy file or folder (default: `policy` of the configuration, or ./policy)",
};
export const policyOptions: readonly CliWord[] = [configOption];

export interface ReadPolicy {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** Of the configuration; without one, one of each type. */
  readonly issuers: readonly { readonly name: string; readonly type: IssuerType }[];
  /** Absent where the files hold an error. */
  readonly model?: PolicyModel;
  readonly diagnostics: readonly Diagnostic[];
}

export interface CompiledPolicy extends Pick<ReadPolicy, "issuers"> {
  readonly model: PolicyModel;
  readonly policy: Policy;
  readonly vocabulary: Vocabulary;
}

/** Where the policy is that a command means. */
export async function policyPath(io: CommandIo, input: Input, argument: string | undefined): Promise<string> {
  if (argument !== undefined) return argument;
  const [{ locateConfig }, { existsSync }] = await Promise.all([import("../config/locate.ts"), import("node:fs")]);
  const named = input.text("config") !== undefined || (io.env.WAYLEAVE_CONFIG ?? "") !== "";
  const config = configPath(io, input);
  return named || existsSync(config) ? locateConfig(config).policyPath : "policy";
}

/** Reads and checks a policy as the broker does, with the issuers of the configuration where there is one. */
export async function readPolicy(io: CommandIo, input: Input, path: string): Promise<ReadPolicy> {
  const [{ readPolicyFiles }, { parsePolicy }, { vocabulary }] = await Promise.all([
    import("../config/policy-files.ts"),
    import("../policy/parse.ts"),
    import("../ci/providers.ts"),
  ]);
  const issuers = await configuredIssuers(io, input);
  const given = { vocabulary, issuers };
  const sources = await configuredSources(io, input, path);
  if (sources !== undefined) return { issuers, ...(await import("../policy/sources.ts")).judgeSources(sources, given) };
  const { files, lock } = isRevision(path)
    ? await readRevision(path, fromHere(await policyPath(io, input, undefined)), io.cwd)
    : await readPolicyFiles(path, fromHere(path));
  return { files, issuers, ...parsePolicy({ files, ...given, ...(lock === undefined ? {} : { lock }) }) };
}

/** A configuration stands for the sources that it lists. Undefined where the path is a policy itself. */
async function configuredSources(
  io: CommandIo,
  input: Input,
  path: string,
): Promise<readonly PolicySourceTexts[] | undefined> {
  const config = configPath(io, input);
  if (resolve(path) !== resolve(config)) return undefined;
  const [{ locateConfig }, { readPolicyFiles }] = await Promise.all([
    import("../config/locate.ts"),
    import("../config/policy-files.ts"),
  ]);
  const { policySources = [] } = locateConfig(config);
  return Promise.all(
    policySources.map(async ({ name, path: at, bounds }) => ({
      name,
      ...(await readPolicyFiles(at, fromHere(at))),
      ...(bounds === undefined ? {} : { bounds }),
    })),
  );
}

/** The path as somebody who stands in the working folder would write it. */
function fromHere(path: string): string {
  const way = relative(process.cwd(), path);
  return way === "" || way.startsWith("..") ? path : way;
}

/** The policy ready to decide. Throws `policy_invalid` after printing what is wrong. */
export async function compilePolicy(io: CommandIo, input: Input, path: string): Promise<CompiledPolicy> {
  const [read, { compile }, { vocabulary }] = await Promise.all([
    readPolicy(io, input, path),
    import("../policy/compile.ts"),
    import("../ci/providers.ts"),
  ]);
  const { model } = read;
  if (model === undefined) {
    await printDiagnostics(io, read);
    throw new WayleaveError("policy_invalid", `${path} has errors; they are listed above. Correct them and retry.`);
  }
  return { model, policy: compile(model, vocabulary), vocabulary, issuers: read.issuers };
}

/** Findings on stderr, each with the text it is about. */
export async function printDiagnostics(
  io: CommandIo,
  { diagnostics, files }: Pick<ReadPolicy, "diagnostics" | "files">,
): Promise<void> {
  const { renderDiagnostics } = await import("../policy/diagnostics.ts");
  const color = painter(io, io.stderr)("red", "x") !== "x";
  const sources = new Map(files.map(({ name, text }) => [name, text]));
  const text = renderDiagnostics(diagnostics, sources, { color });
  if (text !== "") io.stderr.write(text.endsWith("\n") ? text : `${text}\n`);
}

/** Names and types of the issuers; without a configuration, one of each type by its own name. */
async function configuredIssuers(io: CommandIo, input: Input) {
  const { configuredIssuersOf } = await import("../config/locate.ts");
  return configuredIssuersOf(configPath(io, input));
}
