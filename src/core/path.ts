/**
 * The one reading of a request path. An allow-list (RFC 3986 §3.3 `pchar` without `;`): what is not plainly one thing is
 * refused, so that no gateway and no upstream can read it as another.
 */

/** Why a path is refused. */
export type PathProblem =
  | "not_absolute"
  | "empty_segment"
  | "dot_segment"
  | "bad_character"
  | "bad_escape"
  | "too_long";

export type ParsedPath =
  | { readonly ok: true; readonly segments: readonly string[]; readonly trailingSlash: boolean }
  | { readonly ok: false; readonly problem: PathProblem };

const maxPathBytes = 8192;

// Unreserved, sub-delims without ";", ":", "@", the escape sign and the separator.
const allowed = /^[A-Za-z0-9\-._~!$&'()*+,=:@%/]*$/;

const problem = (kind: PathProblem): ParsedPath => ({ ok: false, problem: kind });
const root: ParsedPath = Object.freeze({ ok: true, segments: Object.freeze([]), trailingSlash: true });

/**
 * Splits a raw request path (no query, not decoded) into decoded segments. `%XX` is accepted only for `%20` and for
 * well-formed UTF-8 from U+00A0 on; a single trailing slash is kept as `trailingSlash`.
 * `encodedSlash: "segment"` also accepts `%2F` and keeps it inside its segment, for targets that open it.
 */
export function parsePath(raw: string, encodedSlash: "refuse" | "segment" = "refuse"): ParsedPath {
  if (raw === "/") return root;
  if (raw.length > maxPathBytes) return problem("too_long");
  if (raw.charCodeAt(0) !== 0x2f) return problem("not_absolute");
  if (!allowed.test(raw)) return problem("bad_character");
  const segments = raw.slice(1).split("/");
  const trailingSlash = segments.at(-1) === "";
  if (trailingSlash) segments.pop();
  const escaped = raw.includes("%");
  for (const [at, text] of segments.entries()) {
    if (text === "") return problem("empty_segment");
    if (text === "." || text === "..") return problem("dot_segment");
    if (!escaped) continue;
    const segment = decodeSegment(text, encodedSlash === "segment");
    if (segment === undefined) return problem("bad_escape");
    segments[at] = segment;
  }
  return { ok: true, segments, trailingSlash };
}

/** The segment with its escapes decoded, or undefined where an escape is malformed or hides an ASCII character. */
function decodeSegment(text: string, slash: boolean): string | undefined {
  for (let at = text.indexOf("%"); at !== -1; at = text.indexOf("%", at + 3)) {
    const byte = text.slice(at + 1, at + 3);
    if (!/^[0-9A-Fa-f]{2}$/.test(byte)) return undefined;
    const ascii = Number.parseInt(byte, 16) < 0x80;
    if (ascii && byte !== "20" && !(slash && /^2f$/i.test(byte))) return undefined;
  }
  let decoded: string;
  try {
    decoded = decodeURIComponent(text);
  } catch {
    return undefined; // not UTF-8
  }
  // C1 controls are well-formed UTF-8 below U+00A0.
  return /[\u0080-\u009f]/.test(decoded) ? undefined : decoded;
}
