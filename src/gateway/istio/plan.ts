import type { HttpPattern, Place, PolicyModel, RoleModel, TargetModel } from "../../policy/model.ts";
import { type AskedClause, type NativeDeny, type NativeTarget, nativePolicy } from "../../policy/native.ts";
import { overlaps } from "../../policy/parse-http-pattern.ts";
import { covers, type IstioPaths, istioPaths } from "./paths.ts";

/** Requests of one operation, as an AuthorizationPolicy names them. */
export interface Matched extends IstioPaths {
  /** Upper-case, or `*`. */
  readonly method: string;
  readonly source: string;
  readonly place: Place;
}

/** What the sidecar decides by itself. */
export interface IstioRoute extends Matched {
  readonly role: RoleModel;
  /** Denies that bear on these requests: a token that names one of them is refused. */
  readonly denies: readonly string[];
}

/** What Wayleave is asked about: the paths may match more than the operation, which changes nothing but who decides. */
export interface AskedRoute extends Matched {
  readonly because: string;
}

/** How the requests to one target are divided. */
export interface TargetPlan {
  /** Why every request is asked about; then there are no routes. */
  readonly whole: string | undefined;
  readonly native: readonly IstioRoute[];
  readonly asked: readonly AskedRoute[];
  /** Denies of the whole target: a token that names one is refused whatever it asks. */
  readonly closedTo: readonly string[];
}

/**
 * Which requests to each target a sidecar can decide by a token's claims, exactly as the decision function would, and why
 * not for the others. What is asked about may overlap what is native: the answer counts then, and it is the decision itself.
 */
export function planTargets(model: PolicyModel, asksAlways: boolean): ReadonlyMap<string, TargetPlan> {
  const roles = new Map(model.roles.map((role) => [role.id, role]));
  const plans = [...nativePolicy(model).targets.values()].map((target): [string, TargetPlan] => {
    const whole = asksAlways ? "the gateway says mode: call_out" : wholeReason(target);
    const nothing = { whole, native: [], asked: [], closedTo: [] };
    return [target.name, whole === undefined ? divide(target, roles) : nothing];
  });
  return new Map(plans);
}

function wholeReason({ model, asked }: NativeTarget): string | undefined {
  if (model.mode === "observe") return "it is observed";
  if (model.observe.length > 0) return "some of its routes are observed";
  if (model.unidentified.length > 0) {
    return "some of its routes pass without an identity, and a sidecar refuses tokens it does not know";
  }
  const setting = settingReason(model);
  const closing = asked.find(({ rule, pattern }) => rule === "deny" && pattern === undefined);
  return setting ?? (closing && reasonOf(closing));
}

function settingReason(model: TargetModel): string | undefined {
  if (model.assertion === "required") return "assertion: required, and a sidecar mints none";
  if (model.proof === "required") return "proof: required, and a sidecar checks none";
  if (model.encodedSlash === "segment") return "encoded_slash: segment, and a sidecar reads %2F in more than one way";
  return model.hosts.some((host) => host.includes("${")) ? "its hosts have templates" : undefined;
}

function divide(target: NativeTarget, roles: ReadonlyMap<string, RoleModel>): TargetPlan {
  const native: IstioRoute[] = [];
  const asked = target.asked.flatMap((clause): AskedRoute[] =>
    clause.rule === "role" && clause.pattern !== undefined
      ? [{ ...matched(clause.pattern, clause.place), because: reasonOf(clause) }]
      : [],
  );
  for (const allow of target.allows) {
    const route = matched(allow.pattern, allow.place);
    const role = roles.get(allow.role);
    const bearing = target.denies.filter(({ pattern }) => pattern !== undefined && overlaps(pattern, allow.pattern));
    const because = askReason(target, allow.pattern, route, bearing);
    const denies = [...new Set(bearing.map(({ deny }) => deny))];
    if (because !== undefined) asked.push({ ...route, because });
    else if (role !== undefined) native.push({ ...route, role, denies });
  }
  const closing = target.denies.filter(({ pattern }) => pattern === undefined);
  return { whole: undefined, native, asked, closedTo: closing.map(({ deny }) => deny) };
}

function askReason(
  target: NativeTarget,
  pattern: HttpPattern,
  { exact }: IstioPaths,
  bearing: readonly NativeDeny[],
): string | undefined {
  if (!exact) return "Istio cannot match this path exactly";
  const clause = target.asked.find((one) => one.rule === "deny" && one.pattern && overlaps(one.pattern, pattern));
  if (clause) return reasonOf(clause);
  const whole = (deny: string) =>
    bearing.some((one) => one.deny === deny && one.pattern && covers(one.pattern, pattern));
  const partial = bearing.find(({ deny }) => !whole(deny));
  return partial && `deny ${partial.deny} (${at(partial.place)}) refuses only some of these requests`;
}

function matched(pattern: HttpPattern, place: Place): Matched {
  return { ...istioPaths(pattern), method: pattern.method, source: pattern.source, place };
}

const reasonOf = ({ because, place }: AskedClause): string => `${because} (${at(place)})`;

export function at({ file, line }: Place): string {
  return `${file}:${line}`;
}

export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
