import type { NatsOperation } from "../core/target.ts";
import { fillTemplate } from "./fill-template.ts";
import type { NatsPattern } from "./model.ts";
import { reservedToken } from "./reserved-subject.ts";

/** A NATS pattern for one job: tokens as NATS writes them, `*` and `>` being wildcards. */
export interface FilledNats {
  readonly verb: NatsPattern["verb"];
  readonly tokens: readonly string[];
  readonly queue: string | undefined;
  /** The first template that this job cannot fill; its token stands as `*`. */
  readonly unfilled: string | undefined;
}

/** A first token that becomes a reserved one cannot be filled: no job reaches others' inboxes by what it calls its environment. */
export function fillNats(pattern: NatsPattern, variables: Readonly<Record<string, string>>): FilledNats {
  let unfilled: string | undefined;
  const { verb, queue } = pattern;
  const tokens = pattern.tokens.map((token, at) => {
    if (token.kind === "literal") return token.text;
    if (token.kind === "star") return "*";
    if (token.kind === "rest") return ">";
    const text = fillTemplate(token.template, variables, "token");
    const fits = text !== undefined && !(at === 0 && verb !== "pull" && reservedToken(text));
    if (!fits) unfilled ??= token.template.source;
    return fits ? text : "*";
  });
  return { verb, tokens, queue, unfilled };
}

const maxSubject = 1024;

/** The tokens of a subject as sent, or undefined where NATS would not take it: empty tokens, spaces, a stray `>`. */
export function subjectTokens(subject: string): readonly string[] | undefined {
  if (subject.length > maxSubject || !isPrintable(subject)) return undefined;
  const tokens: string[] = [];
  let from = 0;
  // By hand: asked for every message, each subject a new string, and `split` is slower for those.
  for (let dot = subject.indexOf("."); dot !== -1; dot = subject.indexOf(".", from)) {
    const token = subject.slice(from, dot);
    if (token === "" || token === ">") return undefined;
    tokens.push(token);
    from = dot + 1;
  }
  if (from === subject.length) return undefined;
  tokens.push(subject.slice(from));
  return tokens;
}

/** Control characters and spaces would end the subject on the wire. */
const isPrintable = (subject: string) => /^[!-~]+$/.test(subject) || /^[^\s\p{Cc}]+$/u.test(subject);

const isWildcard = (token: string | undefined) => token === "*" || token === ">";

/**
 * The tokens of what is asked, or undefined where no role could ever allow it: a subject that NATS would not take or that is
 * reserved, a wildcard where one subject is meant, a pull from anything but one consumer of one stream.
 */
export function askedTokens({ verb, subject }: NatsOperation): readonly string[] | undefined {
  const tokens = subjectTokens(subject);
  if (tokens === undefined) return undefined;
  if (verb !== "sub" && tokens.some(isWildcard)) return undefined;
  if (verb === "pull") return tokens.length === 2 ? tokens : undefined;
  return reservedToken(tokens[0] ?? "") === undefined ? tokens : undefined;
}

/** Whether everything the second names lies within the first: `a.>` is within `a.>`, not within `a.*`. */
export function coversTokens(pattern: readonly string[], tokens: readonly string[]): boolean {
  for (let at = 0; at < pattern.length; at++) {
    const wanted = pattern[at];
    const token = tokens[at];
    if (token === undefined) return false;
    if (wanted === ">") return true;
    if (token === ">" || (wanted !== "*" && wanted !== token)) return false;
  }
  return tokens.length === pattern.length;
}

/** Whether some subject is named by both. */
export function sharesTokens(pattern: readonly string[], tokens: readonly string[]): boolean {
  const shared = Math.min(pattern.length, tokens.length);
  for (let at = 0; at < shared; at++) {
    const wanted = pattern[at];
    const token = tokens[at];
    if (wanted === ">" || token === ">") return true;
    if (wanted !== "*" && token !== "*" && wanted !== token) return false;
  }
  return pattern.length === tokens.length;
}

/**
 * What a deny of each verb forbids. A message is one thing: whoever may publish it may add where to answer, so that a deny
 * of `pub` or of `req` is a deny of sending.
 */
export const deniedAs = { pub: "send", req: "send", sub: "sub", pull: "pull" } as const;
