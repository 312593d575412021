/** One series of a counter: its labels, and its value over time, oldest first. */
export interface MetricSeries {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `at` in ms since the epoch. Never empty. */
  readonly points: readonly { readonly at: number; readonly value: number }[];
}

export interface ReadMetrics {
  readonly series: readonly MetricSeries[];
  /** Lines or entries that could not be read. */
  readonly unread: number;
}

/** Two identities that talked, as the called side's proxy counted it. */
export interface IdentityPair {
  /** SPIFFE ID of the caller; undefined where the connection proved none. */
  readonly caller: string | undefined;
  /** SPIFFE ID of the called service; undefined where the metrics do not say. */
  readonly service: string | undefined;
  /** `namespace/workload` of the called side, where the metrics say. */
  readonly workload: string | undefined;
  /** The connection was mutual TLS. */
  readonly mtls: boolean;
  /** Over the time that was looked at; of a single scrape, since the proxy began. */
  readonly requests: number;
  /** ms since the epoch: between these the count rose. Of a single scrape, both are its time. */
  readonly firstAt: number;
  readonly lastAt: number;
}

const maxText = 64 * 1024 * 1024;

/**
 * Counters from what a Prometheus serves: its text format, or the JSON of `/api/v1/query` and `/api/v1/query_range`.
 * `scrapedAt` (ms) stands where the text has no time. Never throws: what cannot be read is counted in `unread`.
 */
export function readMetrics(text: string, names: readonly string[], scrapedAt: number): ReadMetrics {
  if (text.length > maxText) return { series: [], unread: 1 };
  return /^\s*\{/.test(text) ? readJson(text, names) : readText(text, names, scrapedAt);
}

function readText(text: string, names: readonly string[], scrapedAt: number): ReadMetrics {
  const series: MetricSeries[] = [];
  let unread = 0;
  for (const line of text.split("\n")) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+(-?\d+))?(?:\s+#.*)?$/.exec(trimmed);
    if (match === null) {
      unread++;
      continue;
    }
    const [, name = "", inner = "", number = "", time] = match;
    if (!names.includes(name)) continue;
    const labels = readLabels(inner);
    const value = Number(number);
    if (labels === undefined || !Number.isFinite(value) || value < 0) unread++;
    else series.push({ name, labels, points: [{ at: time === undefined ? scrapedAt : Number(time), value }] });
  }
  return { series, unread };
}

/** Undefined for anything but `name="value"` pairs, each name once. */
function readLabels(text: string): Record<string, string> | undefined {
  const labels: Record<string, string> = Object.create(null);
  const pair = /\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(,|$)/y;
  while (pair.lastIndex < text.length) {
    const match = pair.exec(text);
    if (match === null) return undefined;
    const [, name = "", value = ""] = match;
    if (name in labels) return undefined;
    labels[name] = value.replace(/\\(.)/g, (_, sign: string) => (sign === "n" ? "\n" : sign));
  }
  return labels;
}

function readJson(text: string, names: readonly string[]): ReadMetrics {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { series: [], unread: 1 }; // not JSON: nothing of it is known
  }
  const result = member(member(parsed, "data"), "result");
  if (member(parsed, "status") !== "success" || !Array.isArray(result)) return { series: [], unread: 1 };
  const read = result.map((entry) => jsonSeries(entry, names));
  return {
    series: read.flatMap((one) => (one === "unread" ? [] : (one ?? []))),
    unread: read.filter((one) => one === "unread").length,
  };
}

function jsonSeries(entry: unknown, names: readonly string[]): MetricSeries | "unread" | undefined {
  const metric = member(entry, "metric");
  if (typeof metric !== "object" || metric === null) return "unread";
  const { __name__: name, ...labels } = metric as Record<string, unknown>;
  if (typeof name !== "string" || Object.values(labels).some((value) => typeof value !== "string")) return "unread";
  if (!names.includes(name)) return undefined;
  const values = member(entry, "values") ?? [member(entry, "value")];
  if (!Array.isArray(values)) return "unread";
  const points = values.map(point);
  if (points.length === 0 || points.some((one) => one === undefined)) return "unread";
  return {
    name,
    labels: labels as Record<string, string>,
    points: points.flatMap((one) => one ?? []).toSorted((a, b) => a.at - b.at),
  };
}

function point(value: unknown): { at: number; value: number } | undefined {
  if (!Array.isArray(value) || value.length !== 2 || typeof value[1] !== "string") return undefined;
  const [seconds, count] = [Number(value[0]), Number(value[1])];
  return Number.isFinite(seconds) && Number.isFinite(count) && count >= 0
    ? { at: Math.round(seconds * 1000), value: count }
    : undefined;
}

function member(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}

/** How often a counter rose, and when; a value that falls began again at nothing. Undefined where it never rose. */
export function rises(
  points: MetricSeries["points"],
): Pick<IdentityPair, "requests" | "firstAt" | "lastAt"> | undefined {
  const [first] = points;
  if (first === undefined) return undefined;
  if (points.length === 1)
    return first.value > 0 ? { requests: first.value, firstAt: first.at, lastAt: first.at } : undefined;
  let requests = 0;
  let firstAt: number | undefined;
  let lastAt = first.at;
  for (const [index, now] of points.entries()) {
    const before = points[index - 1];
    if (before === undefined) continue;
    const rise = now.value >= before.value ? now.value - before.value : now.value;
    if (rise === 0) continue;
    requests += rise;
    firstAt ??= before.at;
    lastAt = now.at;
  }
  return firstAt === undefined ? undefined : { requests, firstAt, lastAt };
}

/** Pairs of the same identities and kind as one, by caller and service. */
export function mergePairs(pairs: readonly IdentityPair[]): IdentityPair[] {
  const merged = new Map<string, IdentityPair>();
  for (const pair of pairs) {
    const key = JSON.stringify([pair.caller ?? "", pair.service ?? "", pair.workload ?? "", pair.mtls]);
    const known = merged.get(key);
    merged.set(key, known === undefined ? pair : join(known, pair));
  }
  return [...merged].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, pair]) => pair);
}

function join(a: IdentityPair, b: IdentityPair): IdentityPair {
  return {
    ...a,
    requests: a.requests + b.requests,
    firstAt: Math.min(a.firstAt, b.firstAt),
    lastAt: Math.max(a.lastAt, b.lastAt),
  };
}
