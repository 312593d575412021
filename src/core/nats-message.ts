/** One message as records of NATS have it. */
export interface NatsMessage {
  /** The role that allowed it; empty for one that was delivered. */
  readonly rule: string;
  readonly subject: string;
  readonly reply?: string;
  /** Bytes. */
  readonly headers: number;
  /** Bytes, without the headers. */
  readonly payload: number;
}

/**
 * A message from its text in a record: `<rule> <subject> <reply or -> <header bytes> <payload bytes>`, without the rule in
 * a delivered one. Read from its end: subjects hold no space. Undefined for a text that is no message.
 */
export function parseNatsMessage(text: string): NatsMessage | undefined {
  const words = text.split(" ");
  const [payload, headers, reply, subject, ...rule] = words.reverse();
  if (subject === undefined || !isCount(headers) || !isCount(payload)) return undefined;
  return {
    rule: rule.reverse().join(" "),
    subject,
    ...(reply === undefined || reply === "-" ? {} : { reply }),
    headers: Number(headers),
    payload: Number(payload),
  };
}

const isCount = (word: string | undefined): boolean => word !== undefined && /^\d{1,15}$/.test(word);

/** The subject of a message's text alone; empty for what is no message. */
export function natsMessageSubject(text: string): string {
  const reply = text.lastIndexOf(" ", text.lastIndexOf(" ", text.length) - 1);
  const end = text.lastIndexOf(" ", reply - 1);
  return end < 0 || reply < 0 ? "" : text.slice(text.lastIndexOf(" ", end - 1) + 1, end);
}

/** A test of subjects: `*` is one token, `>` at the end one or more. Throws nothing: what is no pattern matches only itself. */
export function natsSubjectMatcher(pattern: string): (subject: string) => boolean {
  const wanted = pattern.split(".");
  const open = wanted.at(-1) === ">";
  const tokens = open ? wanted.slice(0, -1) : wanted;
  if (!open && !tokens.includes("*")) return (subject) => subject === pattern;
  return (subject) => {
    const found = subject.split(".");
    if (open ? found.length <= tokens.length : found.length !== tokens.length) return false;
    return tokens.every((token, at) => token === "*" || token === found[at]);
  };
}
