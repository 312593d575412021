/**
 * What happens to a header whose name means something to nats-server, to MQTT behind it or to Wayleave. `strip`: taken out.
 * `prefix`: its value gets the session's prefix. `refuse`: the message is. `keep`: sent as it is, but only once.
 */
export interface HeaderRule {
  /** As in documentation; every case and `_` or `.` for `-` mean the same. At its end, `*` stands for any more. */
  readonly name: string;
  readonly treatment: "strip" | "prefix" | "refuse" | "keep";
  /** What the client is told where it is refused; why it is so elsewhere. */
  readonly because: string;
}

const scheduled = "the server would publish to another subject later, or remove what others scheduled";
const serverSays = "only the server may say it";

/**
 * The one list. An exact name holds before a family. `Nats-` is closed: a header that a newer server gives a meaning is
 * refused until it has a row here.
 */
export const headerRules: readonly HeaderRule[] = [
  { name: "Wayleave-*", treatment: "strip", because: "only the gateway says who published" },
  { name: "Nats-Request-Info", treatment: "strip", because: "it tells services who asks; only the server knows" },
  {
    name: "Nats-Trace-*",
    treatment: "strip",
    because: "a trace copies the message elsewhere, or keeps it from arriving",
  },
  {
    name: "traceparent",
    treatment: "strip",
    because:
      "where the account traces, a sampled one loses the message: the job may not publish to the trace's subject",
  },
  { name: "Nats-Msg-Id", treatment: "prefix", because: "no job may make another's message look like a duplicate" },
  { name: "Nats-Expected-Last-Msg-Id", treatment: "prefix", because: "it names an id that was stored with the prefix" },
  {
    name: "Nats-Expected-Last-Subject-Sequence-Subject",
    treatment: "refuse",
    because: "the answer tells about a subject other than the message's",
  },
  {
    name: "Nats-Expected-Last-Subject-Sequence",
    treatment: "keep",
    because: "a condition on the message's own subject",
  },
  {
    name: "Nats-Expected-Last-Sequence",
    treatment: "keep",
    because: "a condition on the stream that takes the message",
  },
  { name: "Nats-Expected-Stream", treatment: "keep", because: "a condition on the stream that takes the message" },
  {
    name: "Nats-TTL",
    treatment: "keep",
    because: "how long the message itself is kept, where its stream lets publishers say so",
  },
  { name: "Nats-Incr", treatment: "keep", because: "it counts up on the message's own subject" },
  { name: "Nats-Required-Api-Level", treatment: "keep", because: "it can only make a request fail" },
  {
    name: "Nats-Service-Error",
    treatment: "keep",
    because: "an answer of a service: it means something to clients only",
  },
  { name: "Nats-Service-Error-Code", treatment: "keep", because: "as above" },
  {
    name: "Nats-Rollup",
    treatment: "refuse",
    because: "it deletes what others published to the subject or to the stream",
  },
  { name: "Nats-Schedule*", treatment: "refuse", because: scheduled },
  {
    name: "Nats-Batch-*",
    treatment: "refuse",
    because: "whoever names a batch's id adds to it, commits it or spoils it",
  },
  { name: "Nats-Marker-Reason", treatment: "refuse", because: `it makes the message a delete marker: ${serverSays}` },
  { name: "Nats-Stream-Source", treatment: "refuse", because: `it claims to come from another stream: ${serverSays}` },
  { name: "Nats-Counter-Sources", treatment: "refuse", because: `it claims what other streams counted: ${serverSays}` },
  {
    name: "Nats-Response-Type",
    treatment: "refuse",
    because: `it makes the message an answer of JetStream: ${serverSays}`,
  },
  {
    name: "Nats-*",
    treatment: "refuse",
    because: "names in Nats- are the server's, and this is none that a job needs",
  },
  {
    name: "Nmqtt-*",
    treatment: "refuse",
    because: "MQTT receivers would see another topic than the message's subject",
  },
];

/** Bytes that `prefix` can add to one message, with a prefix of so many characters. */
export function headerGrowth(prefix: string): number {
  const rules = headerRules.filter(({ treatment }) => treatment === "prefix");
  return rules.length * (prefix.length + 1);
}

const exact = new Map<string, HeaderRule>();
const families: { readonly start: string; readonly rule: HeaderRule }[] = [];
for (const rule of headerRules) {
  if (rule.name.endsWith("*")) families.push({ start: folded(rule.name.slice(0, -1)), rule });
  else exact.set(folded(rule.name), rule);
}

/** The rule for a header's name, or undefined where it means nothing to anybody but receivers. */
export function headerRule(name: string): HeaderRule | undefined {
  const text = folded(name);
  return exact.get(text) ?? families.find(({ start }) => text.startsWith(start))?.rule;
}

/** One spelling for all that some receiver takes for the same name. */
function folded(name: string): string {
  return name.toLowerCase().replace(/[_.]/g, "-");
}
