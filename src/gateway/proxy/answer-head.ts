import { hopHeaders } from "./header-rules.ts";

/** Headers of an answer that end at the proxy. */
const ending: ReadonlySet<string> = new Set([...hopHeaders, "connection", "transfer-encoding", "upgrade"]);

/**
 * The headers of an answer that the client gets, names and values in turn: without those of the connection, and without any
 * that reads as Wayleave's own word. `undefined` where they cannot be read in one way: then nothing of the answer goes on.
 */
export function answerFields(raw: readonly (string | Buffer)[]): string[] | undefined {
  const fields: string[] = [];
  let named: readonly string[] = [];
  let lengths = 0;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = latin1(raw[at] as string | Buffer);
    const lower = name.toLowerCase();
    const value = latin1(raw[at + 1] as string | Buffer);
    if (lower === "connection") named = named.concat(value.toLowerCase().split(",").map(trimmed));
    if (ending.has(lower) || name.startsWith(":") || ours(lower)) continue;
    if (lower === "content-length" && (++lengths > 1 || !/^\d{1,15}$/.test(value))) return undefined;
    fields.push(name, value);
  }
  return named.length === 0 ? fields : without(fields, new Set(named));
}

function without(fields: readonly string[], names: ReadonlySet<string>): string[] {
  // A hop may be told to remove a header, but not the one that frames the body.
  return fields.filter((_, at) => {
    const lower = (fields[at - (at % 2)] as string).toLowerCase();
    return lower === "content-length" || !names.has(lower);
  });
}

const ours = (lower: string): boolean => lower.startsWith("x-wayleave-") || lower === "txn-token";

const trimmed = (text: string): string => text.trim();

const latin1 = (text: string | Buffer): string => (typeof text === "string" ? text : text.toString("latin1"));
