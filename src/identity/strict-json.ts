/** A JSON text read in exactly one way, or what is wrong with it, as the end of a sentence: `is not JSON`. */
export type StrictJson =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problem: string };

// A byte order mark stays in the text, where JSON.parse refuses it.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Parses UTF-8 JSON and refuses an object that names a key twice (RFC 8259 §4 leaves its meaning open, so that two
 * readers could see two tokens). Keys are compared after their escapes are decoded. Not checked: size and depth.
 */
export function parseStrictJson(bytes: Uint8Array): StrictJson {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return { ok: false, problem: "is not UTF-8" };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { ok: false, problem: "is not JSON" };
  }
  return repeatsKey(text) ? { ok: false, problem: "names a key twice" } : { ok: true, value };
}

/** True for a plain JSON object: not null, not an array. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Every string, with the colon that makes it a key, and every bracket. In valid JSON nothing else can hold either.
const marks = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/g;

/** `text` is valid JSON: JSON.parse has accepted it. */
function repeatsKey(text: string): boolean {
  const open: Set<string>[] = [];
  for (const [mark, colon] of text.matchAll(marks)) {
    if (mark === "{" || mark === "[") open.push(new Set());
    else if (mark === "}" || mark === "]") open.pop();
    else if (colon !== undefined) {
      const key = JSON.parse(mark.slice(0, -colon.length)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return true;
      keys?.add(key);
    }
  }
  return false;
}
