/** A request as the sidecar has it: normalised, without a query. */
export interface MeshRequest {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly port: number;
  readonly upgrade?: string;
  /** `td/ns/x/sa/y` of the peer's certificate. */
  readonly peer?: string;
  /** Claims of a verified token; `invalid` for one that is not. */
  readonly token?: Readonly<Record<string, unknown>> | "invalid";
}

export interface MeshAnswer {
  readonly allowed: boolean;
  /** What decided: `guard`, `asked`, `jwt`, `deny`, `allow`. */
  readonly by: string;
}

// biome-ignore lint/suspicious/noExplicitAny: documents of many kinds, read as Istio reads them
type Loose = any;

/**
 * What a sidecar does with rendered resources: guard, CUSTOM, JWT, DENY, ALLOW, each as Istio's own translation to Envoy
 * says (prefix, suffix and template matches, claims as text or list, AND of conditions, OR of values).
 */
export function askMesh(resources: readonly Loose[], request: MeshRequest, ask: () => boolean): MeshAnswer {
  const marked = guardMark(resources, request);
  if (marked === "refused") return { allowed: false, by: "guard" };
  const policies = resources.filter(({ kind }) => kind === "AuthorizationPolicy");
  const matches = (action: string) => {
    const rules = policies.filter(({ spec }) => spec.action === action).flatMap(({ spec }) => spec.rules);
    return (claims: Claims | undefined) => rules.some((rule) => ruleMatches(rule, request, claims, marked));
  };
  const asked = matches("CUSTOM")(undefined);
  if (asked && !ask()) return { allowed: false, by: "asked" };
  const claims = verified(resources, request);
  if (claims === "refused") return { allowed: false, by: "jwt" };
  if (matches("DENY")(claims)) return { allowed: false, by: "deny" };
  const closed = policies.some(({ spec }) => spec.action === "ALLOW");
  if (closed && !matches("ALLOW")(claims)) return { allowed: false, by: "allow" };
  return { allowed: true, by: asked ? "asked" : "allow" };
}

type Claims = Readonly<Record<string, unknown>>;

/** The metadata that the filters of the EnvoyFilters leave, or that they refuse. */
function guardMark(resources: readonly Loose[], request: MeshRequest): Record<string, string> | "refused" {
  const marks: Record<string, string> = {};
  const patches = resources
    .filter(({ kind }) => kind === "EnvoyFilter")
    .flatMap(({ spec }) => spec.configPatches)
    .filter(({ match }) => match.listener.portNumber === request.port)
    .toReversed();
  for (const { patch } of patches) {
    const config = patch.value.typed_config;
    if (config["@type"].endsWith("set_metadata.v3.Config")) {
      for (const { metadata_namespace, value } of config.metadata) {
        for (const key of Object.keys(value)) marks[`${metadata_namespace}[${key}]`] = value[key];
      }
    } else if (config["@type"].endsWith("rbac.v3.RBAC")) {
      const [{ and_rules }] = config.rules.policies.unambiguous.permissions;
      if (!and_rules.rules.every((rule: Loose) => envoyRule(rule, request))) return "refused";
    }
  }
  return marks;
}

function envoyRule(rule: Loose, request: MeshRequest): boolean {
  if (rule.not_rule) return !envoyRule(rule.not_rule, request);
  if (rule.url_path) return new RegExp(rule.url_path.path.safe_regex.regex).test(request.path);
  const value = rule.header.name === ":method" ? request.method : request.upgrade;
  if (rule.header.present_match) return value !== undefined;
  const { exact, safe_regex } = rule.header.string_match;
  return exact === undefined ? new RegExp(safe_regex.regex).test(value ?? "") : value === exact;
}

/** Every token must be valid; none passes. */
function verified(resources: readonly Loose[], { token }: MeshRequest): Claims | undefined | "refused" {
  const rules = resources.filter(({ kind }) => kind === "RequestAuthentication").flatMap(({ spec }) => spec.jwtRules);
  if (rules.length === 0 || token === undefined) return undefined;
  if (token === "invalid") return "refused";
  const fits = (rule: Loose) =>
    rule.issuer === token.iss && rule.audiences.some((one: string) => listOf(token.aud).includes(one));
  return rules.some(fits) ? token : "refused";
}

function ruleMatches(
  rule: Loose,
  request: MeshRequest,
  claims: Claims | undefined,
  marks: Record<string, string>,
): boolean {
  const from = rule.from === undefined || rule.from.some(({ source }: Loose) => sourceMatches(source, request, claims));
  const to = rule.to === undefined || rule.to.some(({ operation }: Loose) => operationMatches(operation, request));
  return from && to && (rule.when ?? []).every((condition: Loose) => conditionMatches(condition, claims, marks));
}

function sourceMatches(source: Loose, request: MeshRequest, claims: Claims | undefined): boolean {
  const principal = (value: string) => {
    const slash = value.lastIndexOf("/");
    return (
      claims !== undefined &&
      claims.iss === value.slice(0, slash) &&
      textMatches(value.slice(slash + 1), String(claims.sub))
    );
  };
  return (
    (source.requestPrincipals === undefined || source.requestPrincipals.some(principal)) &&
    (source.principals === undefined || source.principals.some((one: string) => one === request.peer))
  );
}

function operationMatches(operation: Loose, request: MeshRequest): boolean {
  const some = (values: readonly string[] | undefined, test: (value: string) => boolean) =>
    values === undefined || values.some(test);
  return (
    some(operation.ports, (port) => port === String(request.port)) &&
    some(operation.methods, (method) => textMatches(method, request.method)) &&
    some(operation.hosts, (host) => textMatches(host.toLowerCase(), request.host.toLowerCase())) &&
    some(operation.paths, (path) => pathMatches(path, request.path))
  );
}

function conditionMatches(condition: Loose, claims: Claims | undefined, marks: Record<string, string>): boolean {
  const found = valuesOf(condition.key, claims, marks);
  const holds = (values: readonly string[]) => values.some((value) => found.some((text) => textMatches(value, text)));
  return (
    (condition.values === undefined || holds(condition.values)) &&
    (condition.notValues === undefined || !holds(condition.notValues))
  );
}

function valuesOf(key: string, claims: Claims | undefined, marks: Record<string, string>): readonly string[] {
  if (key.startsWith("experimental.")) return listOf(marks[key.slice("experimental.".length)]);
  const names =
    key === "request.auth.audiences" ? ["aud"] : [...key.matchAll(/\[([^\]]+)\]/g)].map(([, name]) => name ?? "");
  return listOf(names.reduce((value: Loose, name) => value?.[name], claims));
}

const listOf = (value: unknown): readonly string[] =>
  value === undefined ? [] : Array.isArray(value) ? value : typeof value === "string" ? [value] : [];

function textMatches(pattern: string, text: string): boolean {
  if (pattern === "*") return text !== "";
  if (pattern.startsWith("*")) return text.endsWith(pattern.slice(1));
  return pattern.endsWith("*") ? text.startsWith(pattern.slice(0, -1)) : text === pattern;
}

/** Envoy's URI templates: `*` and `**` over path characters. `test/istio-envoy.test.ts` holds this against Envoy. */
const templateCharacters = "a-zA-Z0-9._~%!$&'()*+,;:@=\\-";

function pathMatches(pattern: string, path: string): boolean {
  if (!pattern.includes("{")) return textMatches(pattern, path);
  const source = pattern.split(/(\{\*\*?\})/).map((part) => {
    if (part === "{**}") return `[${templateCharacters}/]*`;
    return part === "{*}" ? `[${templateCharacters}]+` : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${source.join("")}$`).test(path);
}
