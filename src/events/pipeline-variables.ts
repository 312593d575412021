import type { EventVariable } from "../policy/model.ts";
import { readJsonPointer } from "./json-pointer.ts";

export type Variables =
  | { readonly values: Readonly<Record<string, string>> }
  /** Why none are taken, as a sentence. */
  | { readonly problem: string };

const maxPayloadBytes = 256 * 1024;
const maxCharacters = 1024;

/**
 * The variables of a pipeline, picked from a message's payload (JSON, UTF-8, ≤ 256 KiB) by pointer. All are required: a
 * value that is missing, no string, number or boolean, longer than 1024 characters, or that a CI or a terminal would read
 * as more than text refuses the message whole. Nothing is escaped, because no CI's escape holds everywhere: `$$` is `$$` in
 * some of GitLab's contexts and `$` in others. Names were checked by the policy's loader; what a script does with a variable
 * that it does not quote is not checked.
 */
export function pipelineVariables(payload: Uint8Array, wanted: readonly EventVariable[]): Variables {
  if (wanted.length === 0) return { values: {} };
  if (payload.byteLength > maxPayloadBytes) return { problem: `The payload is longer than ${maxPayloadBytes} bytes.` };
  const document = parse(payload);
  if (document === undefined) return { problem: "The payload is not JSON in UTF-8." };
  const values: Record<string, string> = {};
  for (const { name, pointer } of wanted) {
    const read = readValue(readJsonPointer(document, pointer));
    if ("problem" in read) return { problem: `The value of ${name} (at ${pointer}) ${read.problem}.` };
    values[name] = read.text;
  }
  return { values };
}

function parse(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    return undefined; // said as one problem, whichever it was
  }
}

function readValue(value: unknown): { readonly text: string } | { readonly problem: string } {
  if (value === undefined) return { problem: "is missing" };
  if (typeof value === "boolean") return { text: String(value) };
  if (typeof value === "number") {
    const exact = Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value);
    return exact ? { text: String(value) } : { problem: "is a number too large to be passed on exactly" };
  }
  if (typeof value !== "string") return { problem: "is no string, number or boolean" };
  const problem = textProblem(value);
  return problem === undefined ? { text: value } : { problem };
}

function textProblem(text: string): string | undefined {
  if (text.length > maxCharacters) return `is longer than ${maxCharacters} characters`;
  // Line and paragraph separators, invisible and direction-changing characters, and halves of characters.
  if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(text)) return "has a control or an invisible character";
  // What GitLab, its runner, Buildkite's pipeline upload or a shell would expand.
  const expands = /[$`]|%%|%[A-Za-z_]\w*%/.test(text);
  return expands ? "has something that a CI expands ($, ` or %NAME%)" : undefined;
}
