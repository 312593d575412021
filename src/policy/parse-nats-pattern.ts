import { natsVerbs } from "../core/target.ts";
import { type Parsed, parsed, refused } from "./findings.ts";
import type { NatsPattern } from "./model.ts";
import { isTemplate, parseTemplate, splitOutside } from "./parse-template.ts";
import { reservedToken } from "./reserved-subject.ts";
import { didYouMean } from "./suggest.ts";

const maxSubject = 255;
const maxTokens = 16;

type Token = NatsPattern["tokens"][number];

/**
 * What a pattern is for. A role names no reserved subject; a deny may also begin with a wildcard, since it gives nothing; a
 * question may be about anything.
 */
export type SubjectUse = "role" | "deny" | "question";

/**
 * `pub|req|sub subject [queue]` or `pull stream.consumer`. Tokens are literal text, `*`, `>` at the end, or a `${…}` template;
 * a queue group only for `sub`. Codes: `operation_invalid`, `verb_unknown`, `subject_invalid`, `subject_reserved`,
 * `consumer_invalid`, `queue_invalid`, and those of templates.
 */
export function parseNatsPattern(source: string, variables: readonly string[], use: SubjectUse): Parsed<NatsPattern> {
  const words = source.split(" ");
  const [word = "", subject = "", queue] = words;
  const verb = natsVerbs.find((known) => known === word);
  if (verb === undefined) {
    return refused("verb_unknown", `nats targets have no verb "${word}"`, 0, word.length, didYouMean(word, natsVerbs));
  }
  if (subject === "" || words.length > 3 || queue === "" || /\s/.test(subject)) {
    const help = "a verb, one space and a subject: pub builds.*; a queue group may follow sub";
    return refused("operation_invalid", "this is not a verb and a subject", 0, source.length, help);
  }
  const start = verb.length + 1;
  const tokens = verb === "pull" ? parseConsumer(subject, start, variables) : parseSubject(subject, start, variables);
  if (!tokens.ok) return tokens;
  const reserved = verb === "pull" ? undefined : reservedProblem(subject, start, tokens.value, use);
  if (reserved) return reserved;
  if (queue === undefined) return parsed({ verb, tokens: tokens.value, source });
  const at = source.length - queue.length;
  if (verb !== "sub") return refused("queue_invalid", `${verb} has no queue group`, at, queue.length, "leave it out");
  if (!/^[\w-]+$/.test(queue)) {
    return refused("queue_invalid", "not a queue group's name", at, queue.length, "letters, digits, - and _");
  }
  return parsed({ verb, tokens: tokens.value, queue, source });
}

/** A subject pattern; `offset` is where it stands in the text that is read. */
export function parseSubject(subject: string, offset: number, variables: readonly string[]): Parsed<Token[]> {
  const parts = splitOutside(subject, ".");
  if (subject.length > maxSubject || parts.length > maxTokens) {
    const help = `at most ${maxTokens} tokens and ${maxSubject} characters`;
    return refused("subject_invalid", "the subject is too long", offset, subject.length, help);
  }
  const tokens: Token[] = [];
  for (const [index, part] of parts.entries()) {
    const token = parseToken(part.text, offset + part.at, index === parts.length - 1, variables);
    if (!token.ok) return token;
    tokens.push(token.value);
  }
  return parsed(tokens);
}

/** Why the subject may not stand where it stands, judged by its first token as it is written. */
export function reservedProblem(
  subject: string,
  offset: number,
  [first]: readonly Token[],
  use: SubjectUse,
): Parsed<never> | undefined {
  if (first === undefined || use === "question") return undefined;
  const wild = first.kind === "star" || first.kind === "rest";
  if (wild && use === "deny") return undefined;
  const [written = subject] = first.kind === "template" ? first.template.texts : splitOutside(subject, ".").map(textOf);
  // Of a template the text before its hole is judged: what fills it is judged for each job.
  const found = written === "" ? undefined : reservedToken(written);
  if (found === undefined) return undefined;
  const { why, help } = use === "deny" ? { ...found, help: "leave it out: no job reaches it" } : found;
  return refused("subject_reserved", why, offset, wild ? 1 : written.length, help);
}

const textOf = ({ text }: { readonly text: string }) => text;

/** `STREAM.CONSUMER`, each named as JetStream allows. */
function parseConsumer(source: string, offset: number, variables: readonly string[]): Parsed<Token[]> {
  const parts = splitOutside(source, ".");
  const help = "write pull STREAM.CONSUMER, each a name, * or a template: pull ORDERS.worker";
  if (parts.length !== 2) {
    return refused("consumer_invalid", "this is not one stream and one consumer", offset, source.length, help);
  }
  const tokens = parseSubject(source, offset, variables);
  if (!tokens.ok) return tokens;
  for (const [index, token] of tokens.value.entries()) {
    const part = parts[index] ?? { text: "", at: 0 };
    if (token.kind === "rest" || /[/\\]/.test(part.text)) {
      const message = `${index === 0 ? "a stream" : "a consumer"} cannot be named ${part.text}`;
      return refused("consumer_invalid", message, offset + part.at, part.text.length, help);
    }
  }
  return tokens;
}

function parseToken(text: string, at: number, last: boolean, variables: readonly string[]): Parsed<Token> {
  if (text === "") return refused("subject_invalid", "an empty token", last ? at - 1 : at, 1, "take the extra dot out");
  if (text === "*") return parsed({ kind: "star" });
  if (text === ">") {
    if (last) return parsed({ kind: "rest" });
    return refused("subject_invalid", "> stands only at the end", at, 1, "use * for one token in the middle");
  }
  if (!isTemplate(text)) return literal(text, at, text.length, parsed<Token>({ kind: "literal", text }));
  const template = parseTemplate(text, variables);
  if (!template.ok) return { ok: false, problem: { ...template.problem, at: template.problem.at + at } };
  const texts = template.value.texts.join("");
  return literal(texts, at, text.length, parsed<Token>({ kind: "template", template: template.value }));
}

function literal(text: string, at: number, length: number, token: Parsed<Token>): Parsed<Token> {
  if (/[*>]/.test(text)) {
    return refused("subject_invalid", "a wildcard is a whole token", at, length, "write a.*.b, not a.x*.b");
  }
  if (/[^\x21-\x7e]/.test(text)) {
    return refused("subject_invalid", "subjects hold printable ASCII only", at, length, "leave the character out");
  }
  return token;
}
