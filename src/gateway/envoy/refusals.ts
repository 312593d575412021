import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { claimHeaders, tokenMetadata } from "./token-metadata.ts";

/** What a gateway that decides natively must refuse, although the token is well signed and policy would allow it. */
export interface Refusals {
  /** Ended or suspended, while a token of theirs may live. */
  readonly sessions: readonly string[];
  /** Revoked `jti`s, while the tokens may live. */
  readonly tokens: readonly string[];
  /** Live `kid`s; what any other signed is refused, and so is everything while there is none. */
  readonly kids: readonly string[];
  /** ms since the epoch; from then on everything is refused. */
  readonly validUntil: number;
}

const type = (name: string) => `type.googleapis.com/${name}`;

/** Type of the filter that the refusals configure. */
export const refusalsFilterType = type("envoy.extensions.filters.http.rbac.v3.RBAC");

/** Name of the resource for a configuration that was rendered from this version of the policy. */
export const refusalsName = (policyVersion: string): string => `wayleave_refusals/${policyVersion}`;

/**
 * The refusals as an RBAC filter, a `TypedExtensionConfig` in proto JSON. The same set in any order gives the same value.
 *
 * Sessions and tokens are looked up in maps by the headers that `jwt_authn` made of the verified claims, so ten thousand
 * cost a request no more than one. Keys are told by the verified JOSE header: a claim proves nothing. How long all this
 * holds is part of it, as a condition on the request's own time, since neither a file nor a poll has a time to live; what
 * cannot be evaluated refuses.
 *
 * Not checked here: signatures and policy, which are the filters in front of it.
 *
 * @see https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/rbac/v3/rbac.proto
 */
export function refusalsConfig(refusals: Refusals, policyVersion: string): JsonObject {
  const live = { action: act("live", allow) };
  const tokens = lookUp(claimHeaders.token, refusals.tokens, "token_revoked", live);
  const sessions = lookUp(claimHeaders.session, refusals.sessions, "session_ended", tokens);
  return {
    name: refusalsName(policyVersion),
    typed_config: {
      "@type": refusalsFilterType,
      matcher: {
        matcher_list: {
          matchers: [
            denyUnless(before(refusals.validUntil), "refusals_stale"),
            denyUnless(signedBy(refusals.kids), "key_not_live"),
            denySeveral(claimHeaders.session, "several_tokens"),
          ],
        },
        on_no_match: sessions,
      },
    },
  };
}

// envoy.config.rbac.v3.RBAC.Action, by number: our own proto files know no enums.
const allow = 0;
const deny = 1;

const act = (name: string, action: number): JsonObject => ({
  name,
  typed_config: { "@type": type("envoy.config.rbac.v3.Action"), name, action },
});

const headerValue = (header: string): JsonObject => ({
  name: "header",
  typed_config: { "@type": type("envoy.type.matcher.v3.HttpRequestHeaderMatchInput"), header_name: header },
});

/**
 * Denies where the header came more than once: `jwt_authn` verifies every token of a request and writes each one's claims,
 * and two sessions joined by a comma are neither of them.
 */
const denySeveral = (header: string, name: string): JsonObject => ({
  predicate: { single_predicate: { input: headerValue(header), value_match: { contains: "," } } },
  on_match: { action: act(name, deny) },
});

/** Denies where the header's value is one of these; goes on otherwise. */
function lookUp(header: string, values: readonly string[], name: string, next: JsonObject): JsonObject {
  if (values.length === 0) return next; // an empty map is not valid
  const input = headerValue(header);
  const map = Object.fromEntries([...new Set(values)].sort().map((value) => [value, { action: act(name, deny) }]));
  return { matcher: { matcher_tree: { input, exact_match_map: { map } }, on_no_match: next } };
}

/** Written as `not`, because an expression that fails counts as false. */
function denyUnless(expression: JsonObject, name: string): JsonObject {
  const input: JsonObject = {
    name: "attributes",
    typed_config: { "@type": type("xds.type.matcher.v3.HttpAttributesCelMatchInput") },
  };
  const custom_match: JsonObject = {
    name: "cel",
    typed_config: {
      "@type": type("xds.type.matcher.v3.CelMatcher"),
      expr_match: { parsed_expr: { expr: numbered(expression), source_info: {} } },
    },
  };
  return {
    predicate: { not_matcher: { single_predicate: { input, custom_match } } },
    on_match: { action: act(name, deny) },
  };
}

/** `request.time < timestamp("…")`. */
function before(ms: number): JsonObject {
  return call("_<_", select(ident("request"), "time"), call("timestamp", text(new Date(ms).toISOString())));
}

/** `metadata.filter_metadata["…jwt_authn"]["wayleave_header"]["kid"] in ["…"]`. */
function signedBy(kids: readonly string[]): JsonObject {
  const { namespace, header } = tokenMetadata;
  const found = [namespace, header, "kid"].reduce<JsonObject>(
    (value, key) => call("_[_]", value, text(key)),
    select(ident("metadata"), "filter_metadata"),
  );
  return call("@in", found, { list_expr: { elements: [...new Set(kids)].sort().map(text) } });
}

// CEL as syntax trees (google.api.expr.v1alpha1.Expr): Envoy takes no text here.
const ident = (name: string): JsonObject => ({ ident_expr: { name } });
const select = (operand: JsonObject, field: string): JsonObject => ({ select_expr: { operand, field } });
const text = (string_value: string): JsonObject => ({ const_expr: { string_value } });
const call = (name: string, ...args: JsonObject[]): JsonObject => ({ call_expr: { function: name, args } });

/** Every node of a tree has an id of its own. */
function numbered(expression: JsonObject): JsonObject {
  let last = 0;
  const visit = (value: JsonValue): JsonValue => {
    if (Array.isArray(value)) return value.map(visit);
    if (typeof value !== "object" || value === null) return value;
    const node = Object.keys(value).some((key) => key.endsWith("_expr"));
    const id = node ? { id: String(++last) } : {};
    return { ...id, ...Object.fromEntries(Object.entries(value).map(([key, child]) => [key, visit(child)])) };
  };
  return visit(expression) as JsonObject;
}
