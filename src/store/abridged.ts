/** Shorter records are kept whole. */
const longBytes = 2048;

const kindMember = Buffer.from('"kind":"');

/** Kinds that may hold a long list, and the raw text around it. In canonical JSON its members have one order. */
const lists = [
  { kind: "nats.published", before: Buffer.from(',"messages":['), after: Buffer.from('],"policy":') },
  { kind: "nats.delivered", before: Buffer.from(',"each":['), after: Buffer.from('],"first_at":') },
].map(({ kind, ...around }) => ({ ...around, kind: Buffer.from(`"kind":"${kind}"`) }));

/**
 * The canonical JSON of a long record without its list, or undefined for one that is to be kept whole. Nothing between is
 * parsed: what stands around the list holds a raw quote after `,` or before `:`, and inside a JSON string each quote has
 * a backslash before it, so that no message can pass for the end of the list.
 */
export function abridge(bytes: Buffer): string | undefined {
  if (bytes.length < longBytes) return undefined;
  const kindAt = bytes.lastIndexOf(kindMember);
  const list = lists.find(({ kind }) => kindAt >= 0 && bytes.subarray(kindAt, kindAt + kind.length).equals(kind));
  if (list === undefined) return undefined;
  const from = bytes.indexOf(list.before);
  const to = bytes.lastIndexOf(list.after, kindAt);
  if (from < 0 || to < from + list.before.length) return undefined;
  return `${bytes.toString("utf8", 0, from + list.before.length)}${bytes.toString("utf8", to)}`;
}
