import type { NatsOperation } from "../core/target.ts";
import { fillTemplate } from "./fill-template.ts";
import type { NatsPattern } from "./model.ts";

/** A NATS pattern for one job: tokens as NATS writes them, `*` and `>` being wildcards. */
export interface FilledNats {
  readonly verb: NatsPattern["verb"];
  readonly tokens: readonly string[];
  readonly queue: string | undefined;
  /** The first template that this job cannot fill; its token stands as `*`. */
  readonly unfilled: string | undefined;
}

export function fillNats(pattern: NatsPattern, variables: Readonly<Record<string, string>>): FilledNats {
  let unfilled: string | undefined;
  const tokens = pattern.tokens.map((token) => {
    if (token.kind === "literal") return token.text;
    if (token.kind === "star") return "*";
    if (token.kind === "rest") return ">";
    const text = fillTemplate(token.template, variables, "token");
    if (text === undefined) unfilled ??= token.template.source;
    return text ?? "*";
  });
  return { verb: pattern.verb, tokens, queue: pattern.queue, unfilled };
}

const maxSubject = 1024;

/** The tokens of a subject as sent, or undefined where NATS would not take it: empty tokens, spaces, a stray `>`. */
export function subjectTokens(subject: string): readonly string[] | undefined {
  // Control characters and spaces would end the subject on the wire.
  if (subject.length > maxSubject || !/^[^\s\p{Cc}]+$/u.test(subject)) return undefined;
  const tokens = subject.split(".");
  const wrong = tokens.some((token, at) => token === "" || (token === ">" && at !== tokens.length - 1));
  return wrong ? undefined : tokens;
}

/**
 * Whether everything the operation can touch lies within the pattern: a subscription to `a.>` needs `a.>`, not `a.*`.
 * `pub` and `req` touch one subject, so a wildcard in theirs is refused. A pattern without a queue covers any queue.
 */
export function coversNats(pattern: FilledNats, operation: NatsOperation, tokens: readonly string[]): boolean {
  if (pattern.verb !== operation.verb) return false;
  if (pattern.queue !== undefined && pattern.queue !== operation.queue) return false;
  if (operation.verb !== "sub" && tokens.some((token) => token === "*" || token === ">")) return false;
  for (let at = 0; at < pattern.tokens.length; at++) {
    const wanted = pattern.tokens[at];
    const token = tokens[at];
    if (token === undefined) return false;
    if (wanted === ">") return true;
    if (token === ">" || (wanted !== "*" && wanted !== token)) return false;
  }
  return tokens.length === pattern.tokens.length;
}

/**
 * Whether the operation can touch anything the pattern names, as a deny asks: a subscription to `>` touches everything,
 * a request also publishes, and a queue group changes nothing.
 */
export function touchesNats(pattern: FilledNats, operation: NatsOperation, tokens: readonly string[]): boolean {
  if (pattern.verb !== operation.verb && !(pattern.verb === "pub" && operation.verb === "req")) return false;
  const shared = Math.min(pattern.tokens.length, tokens.length);
  for (let at = 0; at < shared; at++) {
    const wanted = pattern.tokens[at];
    const token = tokens[at];
    if (wanted === ">" || token === ">") return true;
    if (wanted !== "*" && token !== "*" && wanted !== token) return false;
  }
  return pattern.tokens.length === tokens.length;
}
