import type { Change } from "./diff.ts";
import type { OperationModel, Place, PolicyModel, SelectorModel } from "./model.ts";
import { type Right, selectorKey, type Terms, unitsOf, valueText } from "./rights.ts";

/** One line of a diff: what changed, and for whom all. */
export interface DiffRow {
  readonly how: Change["how"];
  readonly area: Right["area"];
  /** Whose, in words; `everybody` where no identity is asked. */
  readonly who: readonly string[];
  /** As a policy's tests ask: `POST billing /v1/releases`. */
  readonly what: string;
  /** What it hangs on: `when …`, `ttl 600 s`. */
  readonly terms: readonly string[];
  /** Of `wider`: what it hung on before. */
  readonly was?: readonly string[];
  /** Roles or events it comes from. */
  readonly from: readonly { readonly id: string; readonly place: Place }[];
  /** Of `undenied`: the denies that are gone. */
  readonly denies: readonly { readonly id: string; readonly place: Place }[];
}

/** Changes by what they are about, those of many jobs and hosts in one row. `model`: the policy whose rights they are. */
export function diffRows(changes: readonly Change[], model: PolicyModel): readonly DiffRow[] {
  const hosts = new Map(model.targets.map((target) => [target.name, unitsOf(target)]));
  const groups = Map.groupBy(changes, ({ how, right, was, denies }) => {
    const { area, target, operation, terms } = right;
    return JSON.stringify([
      how,
      area,
      target,
      operationText(operation, target),
      terms,
      was,
      denies.map(({ id }) => id),
    ]);
  });
  return [...groups.values()].flatMap((list) => {
    // Where some hosts of a target are new, others may have lost nothing: each set of jobs is told of its own hosts.
    const byHosts = Map.groupBy([...byWho(list).values()], (own) =>
      own
        .map(({ right }) => right.unit)
        .toSorted()
        .join(" "),
    );
    return [...byHosts.values()].map((sets) => rowOf(sets.flat(), hosts));
  });
}

const byWho = (list: readonly Change[]) =>
  Map.groupBy(list, ({ right }) => (right.who === undefined ? "" : selectorKey(right.who)));

function rowOf(list: readonly Change[], hosts: ReadonlyMap<string, readonly string[]>): DiffRow {
  const [first] = list;
  if (first === undefined) throw new TypeError("a row without a change");
  const { how, right, was, denies } = first;
  const reached = new Set(list.map((change) => change.right.unit));
  const all = hosts.get(right.target) ?? [];
  const some = right.unit.startsWith("http ") && all.length > reached.size;
  const at = some ? ` (host ${[...reached].map((unit) => unit.slice("http ".length)).join(", ")})` : "";
  const from = new Map(
    list.flatMap((change) => (change.right.source ? [[change.right.source.id, change.right.source]] : [])),
  );
  return {
    how,
    area: right.area,
    who: [...new Set(list.map((change) => audienceText(change.right.who)))].toSorted(),
    what: `${whatText(right)}${at}`,
    terms: termTexts(right.terms),
    ...(was === undefined ? {} : { was: termTexts(was) }),
    from: [...from.values()],
    denies,
  };
}

const ways: Readonly<Record<Right["area"], string>> = {
  allow: "",
  soft: "though its strings do not hold (mode: observe): ",
  open: "whatever policy denies (mode: observe): ",
  unidentified: "without an identity: ",
  identity: "certificates as ",
  start: "",
  setting: "",
};

function whatText({ area, operation, target }: Right): string {
  const text =
    area === "setting" && operation.kind === "verb" ? `${target} ${operation.verb}` : operationText(operation, target);
  return `${ways[area]}${text}`;
}

function operationText(operation: OperationModel, target: string): string {
  if (operation.kind === "verb") return target === "" ? operation.verb : `${operation.verb} ${target}`;
  const { source } = operation.pattern;
  const space = source.indexOf(" ");
  const stream =
    operation.kind === "http" && operation.pattern.stream && !source.startsWith("* /**") ? " (streams too)" : "";
  return `${source.slice(0, space)} ${target} ${source.slice(space + 1).trim()}${stream}`;
}

function termTexts({ when, ttlSeconds, until, limit, level }: Terms): readonly string[] {
  return [
    ...(when.length === 0 ? [] : [`when ${when.join(" && ")}`]),
    ...(ttlSeconds === undefined ? [] : [`ttl ${duration(ttlSeconds)}`]),
    ...(limit === undefined ? [] : [`at most ${limit.max} in ${duration(limit.windowMs / 1000)} per ${limit.per}`]),
    ...(until === "pipeline" ? ["until the pipeline ends"] : []),
    ...(level > 1 ? [`up to ${level}`] : []),
  ];
}

/** As policy writes it where it can: `10m`. */
function duration(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}

/** A selector in a few words: `gitlab acme/shop, ref main`. */
function audienceText(who: SelectorModel | undefined): string {
  if (who === undefined) return "everybody";
  const { issuer, kind, fork, causedBy, clauses } = who;
  const textOf = (field: string) =>
    clauses
      .find((clause) => clause.field === field)
      ?.values.map(valueText)
      .join(" or ");
  const named = textOf("project") ?? [textOf("organization"), textOf("pipeline")].filter(Boolean).join("/");
  const bare = new Set(textOf("project") === undefined ? ["organization", "pipeline"] : ["project"]);
  const others = clauses
    .filter(({ field }) => !bare.has(field) && !(field === "ref_type" && textOf(field) === "branch"))
    .map(({ field, values }) => `${field} ${values.map(valueText).join(" or ")}`)
    .toSorted();
  const parts = [
    [issuer ?? "any issuer", named].filter(Boolean).join(" "),
    ...others,
    ...(kind === undefined || kind === "job" ? [] : [`as ${kind}`]),
    ...(fork ? ["forks too"] : []),
    ...(causedBy === undefined ? [] : [`started by event ${causedBy.join(" or ")}`]),
  ];
  return parts.join(", ");
}
