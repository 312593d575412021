import type { Diagnostic, Place } from "./diagnostic.ts";
import type { ConfigDocument, KeyPath } from "./document.ts";
import { isLoopback } from "./fields.ts";

type Loose = Readonly<Record<string, unknown>>;

/** The rules of a gateway of kind `proxy` that span several keys. */
export function proxyChecks(document: ConfigDocument, path: KeyPath, gateway: Loose): readonly Diagnostic[] {
  if (gateway.kind !== "proxy") return [];
  const targets = Array.isArray(gateway.targets) ? gateway.targets : [];
  return [
    ...plainListener(document, path, gateway),
    ...Object.entries(mapOf(gateway.upstreams)).flatMap(([target, upstream]) => {
      const at = [...path, "upstreams", target];
      const foreign = targets.includes(target)
        ? []
        : [
            error(
              "unknown_upstream",
              `${target} is none of its targets`,
              document.keyAt(at),
              "add it to `targets`, or leave it out",
            ),
          ];
      return [...foreign, ...upstreamChecks(document, at, mapOf(upstream))];
    }),
  ];
}

/** Access tokens cross this socket. */
function plainListener(document: ConfigDocument, path: KeyPath, { listen, tls }: Loose): readonly Diagnostic[] {
  if (typeof listen !== "string" || tls !== undefined) return [];
  const host = listen.slice(0, listen.lastIndexOf(":"));
  if (isLoopback(host)) return [];
  const place = document.valueAt([...path, "listen"]);
  return [
    error(
      "plain_proxy",
      `${host} can be reached from other machines without TLS`,
      place,
      "set `tls`, or listen on 127.0.0.1",
    ),
  ];
}

function upstreamChecks(document: ConfigDocument, path: KeyPath, upstream: Loose): readonly Diagnostic[] {
  const url = String(upstream.url);
  const plain = /^(http|h2c):/.test(url);
  const host = url.replace(/^[a-z0-9]+:\/\//, "").replace(/:\d+$/, "");
  const found: Diagnostic[] = [];
  const unused = plain ? ["ca_file", "server_name", "spiffe_id"].find((key) => upstream[key] !== undefined) : undefined;
  if (unused !== undefined) {
    const help = "write https:// (h2:// for HTTP/2), or leave it out";
    found.push(error("upstream_plain", `${url} shows no certificate`, document.keyAt([...path, unused]), help));
  }
  if (upstream.spiffe_id !== undefined && upstream.ca_file === undefined) {
    const help = "add `ca_file` with the trust domain's roots: public CAs sign no SPIFFE IDs";
    found.push(error("missing_key", `${url} cannot prove its SPIFFE ID`, document.keyAt([...path, "spiffe_id"]), help));
  }
  const auth = upstream.upstream_auth;
  if (auth === undefined) return found;
  const keys = ["key", "key_file"].filter((key) => mapOf(auth)[key] !== undefined);
  const place = document.keyAt([...path, "upstream_auth"]);
  if (keys.length === 0)
    found.push(error("secret_missing", `${url} has no key`, place, "add `key_file: <path>`, or `key: ${NAME}`"));
  if (keys.length === 2)
    found.push(error("conflicting_keys", "both `key` and `key_file` are set", place, "keep one of them"));
  if (plain && !isLoopback(host)) {
    found.push(
      error("upstream_auth_plain", `the key of ${host} would cross the network in the clear`, place, "write https://"),
    );
  }
  return found;
}

const mapOf = (value: unknown): Loose =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Loose) : {};

function error(code: string, message: string, place: Place, help: string): Diagnostic {
  return { severity: "error", code, message, place, help };
}
