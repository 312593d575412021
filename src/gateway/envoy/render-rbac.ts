import { gatewaySpiffeId } from "../../core/spiffe-id.ts";
import type { HttpPattern, TargetModel } from "../../policy/model.ts";
import type { NativeAllow } from "../../policy/native.ts";
import { ambiguity, pathRegex } from "./path-regex.ts";
import type { CheckedSettings, FrontedTarget } from "./settings.ts";
import { tokenMetadata } from "./token-metadata.ts";

/** One `envoy.config.rbac.v3.RBAC` in proto JSON. */
interface Rules {
  readonly action: "ALLOW" | "DENY";
  readonly policies: Readonly<
    Record<string, { readonly permissions: readonly object[]; readonly principals: readonly object[] }>
  >;
}

/** A path that can be read in two ways, or is longer than policy reads. */
const ambiguousPath = {
  permissions: [
    { not_rule: urlPath({ safe_regex: { regex: ambiguity.characters } }) },
    urlPath({ contains: ambiguity.emptySegment }),
    urlPath({ safe_regex: { regex: ambiguity.dotSegment } }),
    urlPath({ safe_regex: { regex: ambiguity.overlong } }),
  ],
  principals: [{ any: true }],
};

const header = (name: string, string_match: object) => ({ header: { name, string_match } });

/** A method that not everybody reads alike, or that nobody forwards. */
const ambiguousMethod = {
  permissions: [
    { not_rule: header(":method", { safe_regex: { regex: "[A-Z]+(?:-[A-Z]+)*" } }) },
    header(":method", { exact: "CONNECT" }),
    header(":method", { exact: "TRACE" }),
  ],
  principals: [{ any: true }],
};

/** Envoy looks for a target by what stands before the first colon; policy means the whole name. */
const ambiguousHost = (kind: TargetModel["kind"]) => ({
  permissions: [
    { not_rule: header(":authority", { safe_regex: { regex: hostForms[kind === "mesh" ? "any" : "named"] } }) },
  ],
  principals: [{ any: true }],
});

const hostForms = { named: "[A-Za-z0-9_.-]+(?::[0-9]*)?", any: "[A-Za-z0-9_.:\\[\\]-]+" } as const;

/** What is refused whoever asks, since it can be read in two ways. */
export function requestRules({ kind }: TargetModel): Rules {
  return {
    action: "DENY",
    policies: {
      ambiguous_host: ambiguousHost(kind),
      ambiguous_method: ambiguousMethod,
      ambiguous_path: ambiguousPath,
    },
  };
}

/** What is refused whatever role the token has. */
export function denyRules(settings: CheckedSettings, { native, model }: FrontedTarget): Rules {
  const byId = new Map<string, object[]>();
  for (const { deny, pattern } of native.denies) {
    const permission = pattern === undefined ? { any: true } : operation(pattern, { anySlash: true });
    if (permission !== undefined) byId.set(deny, [...(byId.get(deny) ?? []), permission]);
  }
  const denies = [...byId].map(([id, permissions]) => [
    `deny/${id}`,
    { permissions, principals: [all(ofThisPolicy(settings), listed("denies", id))] },
  ]);
  return {
    action: "DENY",
    policies: {
      ...requestRules(model).policies,
      // A token that is bound to a key is no bearer token.
      ...(settings.inner
        ? {}
        : { bound_token: { permissions: [{ any: true }], principals: [claim(["cnf"], { present_match: true })] } }),
      ...Object.fromEntries(denies),
    },
  };
}

/**
 * What a token of the rendered policy is allowed by its roles. Of any other version it says nothing here and goes on to the
 * question.
 */
export function roleRules(settings: CheckedSettings, target: FrontedTarget): Rules {
  const byRole = new Map<string, NativeAllow[]>();
  for (const allow of target.native.allows) byRole.set(allow.role, [...(byRole.get(allow.role) ?? []), allow]);
  const roles = [...byRole].flatMap(([role, allows]) => {
    const permissions = allows.flatMap(({ pattern }) => operation(pattern, { noStream: !pattern.stream }) ?? []);
    if (permissions.length === 0) return [];
    const principals = [
      all(ofThisPolicy(settings), listed("roles", role), forTarget(settings, target), ...peers(settings)),
    ];
    return [[`role/${role}`, { permissions, principals }]];
  });
  const other = all(claim(["iss"], { present_match: true }), { not_id: ofThisPolicy(settings) }, ...peers(settings));
  return {
    action: "ALLOW",
    policies: { ...Object.fromEntries(roles), other_policy: { permissions: [{ any: true }], principals: [other] } },
  };
}

/** Patterns of the target's operations with `stream: true`. */
export function streamPatterns({ native }: FrontedTarget): readonly HttpPattern[] {
  return native.routes.filter(({ stream }) => stream).map(({ pattern }) => pattern);
}

const upgrade = { header: { name: "upgrade", present_match: true } };
/** A gRPC call cannot be told from a stream before its end. */
const grpc = header("content-type", { safe_regex: { regex: "(?i)(?:.*,)?\\s*application/grpc.*" } });

/** Undefined where nothing can match. */
function operation(
  pattern: HttpPattern,
  { anySlash = false, noStream = false }: { readonly anySlash?: boolean; readonly noStream?: boolean },
): object | undefined {
  const path = pathMatcher(pattern, anySlash);
  if (path === undefined) return undefined;
  const rules = [
    ...(pattern.method === "*" ? [] : [header(":method", { exact: pattern.method })]),
    urlPath(path),
    ...(noStream ? [{ not_rule: upgrade }, { not_rule: grpc }] : []),
  ];
  return rules.length === 1 ? rules[0] : { and_rules: { rules } };
}

/** Plain text where that says the same: it is quicker than an expression. */
function pathMatcher(pattern: HttpPattern, anySlash: boolean): object | undefined {
  const regex = pathRegex(pattern, anySlash);
  if (regex === undefined) return undefined;
  const text = regex.replaceAll(/\\([.$()*+])/g, "$1");
  const plain = !anySlash && pattern.segments.every(({ kind }) => kind === "literal") && !text.includes("%");
  return plain ? { exact: text } : { safe_regex: { regex } };
}

function urlPath(path: object): object {
  return { url_path: { path } };
}

const all = (...ids: readonly object[]): object => (ids.length === 1 ? (ids[0] ?? {}) : { and_ids: { ids } });

const ofThisPolicy = ({ policyVersion }: CheckedSettings) => claim(["pol"], { string_match: { exact: policyVersion } });

const listed = (name: string, value: string) =>
  claim([name], { list_match: { one_of: { string_match: { exact: value } } } });

/** An access token lists its targets; an assertion was made for one request. */
function forTarget({ inner }: CheckedSettings, { name }: FrontedTarget): object {
  return inner ? claim(["tctx", "target"], { string_match: { exact: name } }) : listed("aud", name);
}

/** Who may hand on an assertion, proven by its certificate. */
function peers({ inner, behind, trustDomain }: CheckedSettings): readonly object[] {
  if (!inner) return [];
  const ids = [...new Set(behind)].toSorted().map((front) => ({
    authenticated: { principal_name: { exact: gatewaySpiffeId(trustDomain, front) } },
  }));
  return ids.length === 1 ? ids : [{ or_ids: { ids } }];
}

function claim(path: readonly string[], value: object): object {
  const { namespace, payload } = tokenMetadata;
  return {
    sourced_metadata: {
      metadata_matcher: { filter: namespace, path: [payload, ...path].map((key) => ({ key })), value },
    },
  };
}

/** The metadata that `ext_authz` looks at: it asks unless the token is of the rendered policy. */
export function otherPolicy({ policyVersion }: CheckedSettings): object {
  const { namespace, payload } = tokenMetadata;
  return {
    filter: namespace,
    path: [payload, "pol"].map((key) => ({ key })),
    value: { string_match: { exact: policyVersion } },
    invert: true,
  };
}
