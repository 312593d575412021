import { type Parsed, parsed, refused } from "./findings.ts";
import type { NatsPattern } from "./model.ts";
import { isTemplate, parseTemplate, splitOutside } from "./parse-template.ts";
import { didYouMean } from "./suggest.ts";

const verbs = ["pub", "sub", "req"] as const;
const maxSubject = 255;
const maxTokens = 16;

type Token = NatsPattern["tokens"][number];

/**
 * `pub|sub|req subject [queue]`. Tokens are literal text, `*`, `>` at the end, or a `${…}` template; a queue group only for
 * `sub`. Codes: `operation_invalid`, `verb_unknown`, `subject_invalid`, `queue_invalid`, and those of templates.
 */
export function parseNatsPattern(source: string, variables: readonly string[]): Parsed<NatsPattern> {
  const words = source.split(" ");
  const [word = "", subject = "", queue] = words;
  const verb = verbs.find((known) => known === word);
  if (verb === undefined) {
    return refused("verb_unknown", `nats targets have no verb "${word}"`, 0, word.length, didYouMean(word, verbs));
  }
  if (subject === "" || words.length > 3 || queue === "" || /\s/.test(subject)) {
    const help = "a verb, one space and a subject: pub builds.*; a queue group may follow sub";
    return refused("operation_invalid", "this is not a verb and a subject", 0, source.length, help);
  }
  const tokens = parseSubject(subject, verb.length + 1, variables);
  if (!tokens.ok) return tokens;
  if (queue === undefined) return parsed({ verb, tokens: tokens.value, source });
  const at = source.length - queue.length;
  if (verb !== "sub") return refused("queue_invalid", `${verb} has no queue group`, at, queue.length, "leave it out");
  if (!/^[\w-]+$/.test(queue)) {
    return refused("queue_invalid", "not a queue group's name", at, queue.length, "letters, digits, - and _");
  }
  return parsed({ verb, tokens: tokens.value, queue, source });
}

function parseSubject(subject: string, offset: number, variables: readonly string[]): Parsed<Token[]> {
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
