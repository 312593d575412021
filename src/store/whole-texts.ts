import { natsMessageSubject, natsSubjectMatcher } from "../core/nats-message.ts";
import type { AuditRecord } from "../core/record.ts";
import type { KeptText, RecordFilter } from "./ports.ts";
import { readText } from "./segment-follower.ts";

/** An answer has not much more than this of texts that the journal had to be asked for, so that no reader has to hold more; bytes. */
const answerBytes = 1 << 19;

/** And no more is looked through for it: other questions wait meanwhile; bytes. */
const lookedBytes = 16 << 20;

/**
 * The records' texts as the filter wants them: whole, brief, or only those with a message on its subject. Fewer than there
 * are where they are long, but never none: the next page begins after the last.
 *
 * @param dir The journal's.
 */
export async function wholeTexts(
  dir: string,
  kept: readonly KeptText[],
  { brief, subject }: Pick<RecordFilter, "brief" | "subject">,
): Promise<readonly string[]> {
  const wanted = subject === undefined ? () => true : onSubject(subject);
  const looked: { readonly text: string; readonly found: boolean; readonly json: string }[] = [];
  for (let at = 0, answered = 0, read = 0; at < kept.length && answered < answerBytes && read < lookedBytes; at++) {
    const { json, place } = kept[at] as KeptText;
    const short = place === undefined || (brief === true && subject === undefined);
    const text = short ? json : await readText(dir, place);
    const found = wanted(text);
    looked.push({ text, found, json });
    if (short) continue;
    read += text.length;
    if (found) answered += text.length;
  }
  return looked
    .filter(({ found }, at) => found || at === looked.length - 1)
    .map(({ text, found, json }) => (found ? text : withoutMessages(json)));
}

/** A test of records' texts; the literal beginning of a subject is looked for before anything is parsed. */
function onSubject(pattern: string): (text: string) => boolean {
  const matches = natsSubjectMatcher(pattern);
  const literal = JSON.stringify(pattern.replace(/[*>].*$/, "")).slice(1, -1);
  return (text) => {
    if (!text.includes(literal)) return false;
    const record = JSON.parse(text) as AuditRecord;
    return (
      record.kind === "nats.published" && record.data.messages.some((message) => matches(natsMessageSubject(message)))
    );
  };
}

function withoutMessages(json: string): string {
  const record = JSON.parse(json) as AuditRecord;
  if (record.kind !== "nats.published") return json;
  return JSON.stringify({ ...record, data: { ...record.data, messages: [] } });
}
