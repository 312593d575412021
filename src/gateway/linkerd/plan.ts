import { WayleaveError } from "../../core/errors.ts";
import type {
  HttpPattern,
  LimitModel,
  Place,
  PolicyModel,
  RoleModel,
  RouteModel,
  TargetModel,
} from "../../policy/model.ts";
import { overlaps } from "../../policy/parse-http-pattern.ts";
import { patternRegex } from "../path-regex.ts";

/** One route: a method, the paths, and who may use it. */
export interface LinkerdRoute {
  readonly pattern: HttpPattern;
  readonly path: { readonly type: "Exact" | "RegularExpression"; readonly value: string };
  /** It leaves out paths with letters beyond ASCII where a star or a parameter stands. */
  readonly asciiOnly: boolean;
  /** Linkerd identities; undefined: everybody. */
  readonly identities: readonly string[] | undefined;
}

export interface LinkerdPlan {
  readonly target: TargetModel;
  readonly routes: readonly LinkerdRoute[];
  /** Requests a second by one identity. */
  readonly limits: readonly { readonly perSecond: number; readonly account: ServiceAccount }[];
}

export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
}

interface Clause {
  readonly pattern: HttpPattern;
  readonly place: Place;
  readonly role: RoleModel;
}

/**
 * What Linkerd can enforce of one target: routes by the mesh identities that roles name. It knows no tokens and asks nobody,
 * so everything else is refused: one `render_refused` that names each clause with file and line.
 */
export function planTarget(target: TargetModel, model: PolicyModel, gateway: string, trustDomain: string): LinkerdPlan {
  const problems = [...settingProblems(target), ...denyProblems(target, model)];
  const clauses: Clause[] = [];
  for (const role of model.roles.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
    const operations = Object.hasOwn(role.allow, target.name) ? (role.allow[target.name] ?? []) : [];
    if (operations.length === 0) continue;
    problems.push(...roleProblems(role, target, model, trustDomain));
    for (const operation of operations) {
      if (operation.kind !== "http") continue;
      problems.push(...patternProblems(operation.pattern, operation.place));
      clauses.push({ pattern: operation.pattern, place: operation.place, role });
    }
  }
  problems.push(...overlapProblems(clauses, target));
  if (problems.length > 0) {
    throw new WayleaveError(
      "render_refused",
      `Gateway ${gateway}: Linkerd cannot enforce target ${target.name}, and nothing was left out instead:\n${[...new Set(problems)].map((line) => `  ${line}`).join("\n")}\nFront it by Envoy or Istio, or change these clauses.`,
    );
  }
  return {
    target,
    routes: [...routesOf(clauses, target, trustDomain), ...sharedRoutes(target)],
    limits: limitsOf(clauses, trustDomain),
  };
}

function settingProblems(target: TargetModel): string[] {
  const found = [
    target.assertion === "required" && "assertion: required, and Linkerd mints none",
    target.proof === "required" && "proof: required, and Linkerd checks none",
    target.encodedSlash === "segment" && "encoded_slash: segment is for gateways that ask",
    target.observe.length > 0 && "a route of mode observe; only a whole target can be audited",
    target.hosts.some((host) => host.includes("${")) && "hosts with templates, and Linkerd knows no job",
  ];
  return found.flatMap((text) => (text === false ? [] : [`${at(target.place)}: ${text}`]));
}

/** A mesh identity says what role it has, not whom it belongs to. */
function denyProblems(target: TargetModel, model: PolicyModel): string[] {
  return model.deny
    .filter(
      (deny) =>
        deny.targets.length === 0 || deny.targets.includes(target.name) || Object.hasOwn(deny.operations, target.name),
    )
    .map(({ id, place }) => `${at(place)}: deny ${id} is about jobs, and a mesh identity does not say which job it is`);
}

function roleProblems(role: RoleModel, target: TargetModel, model: PolicyModel, trustDomain: string): string[] {
  const where = at(role.place);
  if (role.spiffeId === undefined)
    return [`${where}: role ${role.name} names no spiffe_id, and Linkerd knows no tokens`];
  if (serviceAccountOf(role.spiffeId, trustDomain) === undefined) {
    return [
      `${where}: role ${role.name}: ${role.spiffeId} is no service account of this mesh (spiffe://${trustDomain}/ns/NAMESPACE/sa/NAME)`,
    ];
  }
  const condition =
    role.when && `${at(role.when.place)}: role ${role.name} has a condition, and Linkerd knows no facts`;
  return [condition, limitProblem(role, target, model)].flatMap((text) => text ?? []);
}

/** The same only where Linkerd's count is ours: each second, each proxy for itself, each identity with one role. */
function limitProblem(role: RoleModel, target: TargetModel, model: PolicyModel): string | undefined {
  const { limit } = role;
  if (limit === undefined) return undefined;
  const refuse = (why: string) =>
    `${at(role.place)}: role ${role.name} has a limit that Linkerd counts differently: ${why}`;
  if (limit.per !== "role") return refuse(`it is per ${limit.per}, and Linkerd knows only identities`);
  if (limit.scope !== "gateway")
    return refuse("it is counted over all gateways, and each of Linkerd's proxies counts for itself");
  if (limit.windowMs !== 1000) return refuse("only uses per second are counted");
  const other = model.roles.find(
    (one) => one !== role && one.spiffeId === role.spiffeId && Object.hasOwn(one.allow, target.name),
  );
  return other && refuse(`role ${other.name} has the same identity`);
}

/** What Gateway API's method list has, without those that no gateway forwards. */
const gatewayMethods: readonly string[] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

function patternProblems(pattern: HttpPattern, place: Place): string[] {
  const refuse = (why: string) => [`${at(place)}: ${pattern.source}: ${why}`];
  if (pattern.stream) return refuse("says stream: true, and Linkerd cannot end an open stream");
  if (pattern.method === "*")
    return refuse(`Linkerd cannot say every method; write ${gatewayMethods.join(", ")}, as far as they are wanted`);
  if (!gatewayMethods.includes(pattern.method)) return refuse(`Linkerd's routes have no method ${pattern.method}`);
  return patternRegex(pattern) === undefined
    ? refuse("this path is filled from a job's claims, or is no expression")
    : [];
}

/**
 * Linkerd authorizes a request by the one route that fits best, so two routes that share requests must have the same callers,
 * or be one plain path inside the other.
 */
function overlapProblems(clauses: readonly Clause[], target: TargetModel): string[] {
  return [
    ...clauses.flatMap((a, index) =>
      clauses.slice(index + 1).flatMap((b) => (contend(a, b) ? [contention(a, b)] : [])),
    ),
    ...target.unidentified.flatMap((route) => sharedProblems(route, clauses)),
  ];
}

function contend(a: Clause, b: Clause): boolean {
  if (a.role.spiffeId === b.role.spiffeId || a.pattern.source === b.pattern.source) return false;
  return !isPlain(a.pattern) && !isPlain(b.pattern) && overlaps(a.pattern, b.pattern);
}

const contention = (a: Clause, b: Clause): string =>
  `${at(a.place)}: ${a.pattern.source} and ${b.pattern.source} (${at(b.place)}) share requests, and Linkerd asks only one route's callers`;

function sharedProblems({ pattern, place }: RouteModel, clauses: readonly Clause[]): string[] {
  const refuse = (why: string) => `${at(place)}: ${pattern.source}: ${why}`;
  const other = clauses.find((clause) => !isPlain(pattern) && overlaps(clause.pattern, pattern));
  return [
    ...(other ? [refuse(`shares requests with ${other.pattern.source} (${at(other.place)}); write a plain path`)] : []),
    ...(gatewayMethods.includes(pattern.method) ? [] : [refuse(`write one of ${gatewayMethods.join(", ")}`)]),
    ...(expression(pattern) === undefined ? [refuse("its expression is too long")] : []),
  ];
}

const isPlain = ({ segments }: HttpPattern): boolean =>
  segments.every((one) => one.kind === "literal" && /^[A-Za-z0-9\-._~!$&'()+,=:@*]+$/.test(one.text));

function routesOf(clauses: readonly Clause[], target: TargetModel, trustDomain: string): LinkerdRoute[] {
  const shared = new Set(target.unidentified.map(({ pattern }) => pattern.source));
  const patterns = new Map(clauses.map((clause) => [clause.pattern.source, clause.pattern]));
  return [...patterns.values()]
    .filter(({ source }) => !shared.has(source))
    .toSorted((a, b) => (a.source < b.source ? -1 : 1))
    .map((pattern) => {
      const callers = clauses.filter(
        (clause) => clause.pattern.source === pattern.source || holds(clause.pattern, pattern),
      );
      const identities = callers.flatMap(({ role }) => identityOf(role.spiffeId, trustDomain) ?? []);
      return {
        pattern,
        path: pathOf(pattern),
        asciiOnly: isShortened(pattern),
        identities: [...new Set(identities)].toSorted(),
      };
    });
}

/** A plain path is the better fit, so whoever may use a wider route that has it must be named there too. */
function holds(wide: HttpPattern, plain: HttpPattern): boolean {
  if (!isPlain(plain) || wide.method !== plain.method) return false;
  const regex = patternRegex(wide);
  return regex !== undefined && new RegExp(regex).test(pathText(plain));
}

/** Longest value that a route's path may have. */
const maxPath = 1024;

/** Where the whole expression is too long, the one without letters beyond ASCII: it matches less. */
function expression(pattern: HttpPattern): string | undefined {
  return (["all", "ascii"] as const)
    .map((letters) => patternRegex(pattern, letters))
    .find((regex) => regex !== undefined && regex.length <= maxPath);
}

const isShortened = (pattern: HttpPattern): boolean => (patternRegex(pattern)?.length ?? 0) > maxPath;

const pathText = ({ source, method }: HttpPattern): string => source.slice(method.length + 1);

function sharedRoutes(target: TargetModel): LinkerdRoute[] {
  return target.unidentified
    .map(({ pattern }) => ({ pattern, path: pathOf(pattern), asciiOnly: isShortened(pattern), identities: undefined }))
    .toSorted((a, b) => (a.pattern.source < b.pattern.source ? -1 : 1));
}

function pathOf(pattern: HttpPattern): LinkerdRoute["path"] {
  const text = pathText(pattern);
  return isPlain(pattern)
    ? { type: "Exact", value: text }
    : { type: "RegularExpression", value: expression(pattern) ?? "" };
}

function limitsOf(clauses: readonly Clause[], trustDomain: string): LinkerdPlan["limits"] {
  const limits = new Map<string, { limit: LimitModel; account: ServiceAccount }>();
  for (const { role } of clauses) {
    const account = serviceAccountOf(role.spiffeId, trustDomain);
    if (role.limit !== undefined && account !== undefined) limits.set(role.id, { limit: role.limit, account });
  }
  return [...limits.values()].map(({ limit, account }) => ({ perSecond: limit.max, account }));
}

/** The service account that a SPIFFE ID of this mesh names. */
function serviceAccountOf(spiffeId: string | undefined, trustDomain: string): ServiceAccount | undefined {
  const prefix = `spiffe://${trustDomain}/`;
  if (spiffeId === undefined || !spiffeId.startsWith(prefix)) return undefined;
  const match = /^ns\/([a-z0-9](?:[-a-z0-9]*[a-z0-9])?)\/sa\/([a-z0-9](?:[-.a-z0-9]*[a-z0-9])?)$/.exec(
    spiffeId.slice(prefix.length),
  );
  const [, namespace, name] = match ?? [];
  return namespace === undefined || name === undefined ? undefined : { namespace, name };
}

/** As Linkerd writes it: `sa.ns.serviceaccount.identity.linkerd.<trust domain>`. */
function identityOf(spiffeId: string | undefined, trustDomain: string): string | undefined {
  const account = serviceAccountOf(spiffeId, trustDomain);
  return account && `${account.name}.${account.namespace}.serviceaccount.identity.linkerd.${trustDomain}`;
}

function at({ file, line }: Place): string {
  return `${file}:${line}`;
}
