/**
 * The one JSON text of a value: members sorted by UTF-16 code units, numbers as ECMAScript writes them, no white space.
 * Members that are undefined are left out; a lone surrogate becomes U+FFFD, so that the text is always valid UTF-8.
 * Throws TypeError for what JSON cannot say (NaN, infinities, bigint, functions, undefined in a list).
 *
 * @see RFC 8785 §3.2
 */
export function canonicalJson(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value.toWellFormed());
    case "boolean":
      return value ? "true" : "false";
    case "number":
      if (!Number.isFinite(value)) throw new TypeError(`JSON has no ${value}`);
      return JSON.stringify(value);
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) ? `[${value.map(canonicalJson).join()}]` : object(value);
    default:
      throw new TypeError(`JSON has no ${typeof value}`);
  }
}

function object(value: object): string {
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .map(([name, member]): [string, unknown] => [name.toWellFormed(), member])
    .sort(([a], [b]) => (a < b ? -1 : 1)); // strings compare by UTF-16 code units
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join()}}`;
}
