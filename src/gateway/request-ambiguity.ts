/** Why a method can be read in two ways, or undefined. Methods are case-sensitive (RFC 9110 §9.1), and not everybody knows. */
export function ambiguousMethod(method: string): string | undefined {
  if (method === "GET" || method === "POST") return undefined;
  if (!/^[A-Z]+(?:-[A-Z]+)*$/.test(method)) return "the method is not an upper-case token";
  return method === "CONNECT" || method === "TRACE" ? `${method} is never forwarded` : undefined;
}

const harmlessHops: ReadonlySet<string> = new Set(["keep-alive", "close", "upgrade", "te"]);

/** RFC 9110 §7.6.1: every token names a header that a hop may remove, so any but the usual ones is a trick. */
export function ambiguousHop(connection: string | undefined, upgrade: string | undefined): string | undefined {
  if (upgrade === undefined && (connection === undefined || connection === "keep-alive" || connection === "close")) {
    return undefined;
  }
  const tokens = (connection ?? "")
    .toLowerCase()
    .split(",")
    .map((token) => token.trim());
  if (connection !== undefined && !tokens.every((token) => harmlessHops.has(token))) {
    return "Connection names a header that a hop would remove";
  }
  if (upgrade === undefined) return undefined;
  if (upgrade.toLowerCase() !== "websocket") return "only Upgrade: websocket is known";
  return tokens.includes("upgrade") ? undefined : "Upgrade without Connection: upgrade";
}

/** An authority that would be compared with nothing, or that an upstream could find elsewhere. */
export function ambiguousHost(host: string, authority: string, header: string | undefined): string | undefined {
  if (host === "") return "the request names no host";
  if (/[^\w.:[\]-]/.test(host)) return "the host has characters that no host has";
  return header === undefined || header === authority ? undefined : "Host and :authority differ";
}

/** Lower case, without port. */
export function hostOf(authority: string): string {
  return authority.replace(/:\d*$/, "").toLowerCase();
}
