import type { Operation } from "../core/target.ts";

/**
 * Whether a proof's `htu` names the request of `operation`: its host and its path, as the gateway read them. Not compared are
 * scheme and port, which a gateway behind another proxy does not know, and the query, which no `htu` has.
 *
 * @see RFC 9449 §4.3
 */
export function namesOperation(htu: string, operation: Operation): boolean {
  if (operation.kind !== "http" || operation.host === "" || htu.length > maxLength || !URL.canParse(htu)) return false;
  const { protocol, hostname, pathname, username, password, search } = new URL(htu);
  if (protocol !== "https:" && protocol !== "http:") return false;
  if (username !== "" || password !== "" || search !== "") return false;
  return hostname === operation.host && pathname === operation.path;
}

const maxLength = 8192;
