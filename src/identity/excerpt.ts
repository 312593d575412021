/**
 * Untrusted text as it may stand in an error: quoted, printable ASCII only (anything else is `?`), cut after
 * `maxLength` characters. For claim and header values; never for a token.
 */
export function excerpt(text: string, maxLength = 80): string {
  const printable = text.slice(0, maxLength).replace(/[^\x20-\x7e]|["\\]/g, "?");
  return `"${printable}${text.length > maxLength ? "…" : ""}"`;
}
