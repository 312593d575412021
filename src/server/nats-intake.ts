import { dataSchemas } from "../audit/record-schema.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import type { Admission } from "../gateway/nats/ports.ts";
import type { RecordFilter } from "../store/ports.ts";
import type { NatsFront } from "./nats-session.ts";

/** An event as a gateway of its own process sends it. Numbers grow by one with each event of a run of the gateway. */
export interface SentEvent {
  readonly n: number;
  readonly event: unknown;
}

export interface NatsIntake {
  /**
   * Records what was sent, in order; resolves with the number of the last event that is durable. What a run sends again is
   * recorded once. Throws `invalid_request` for a batch that holds anything a gateway has no business to say: then nothing of
   * it is recorded. Rejects `journal_unavailable`.
   */
  take(run: string, events: readonly SentEvent[]): Promise<number>;
}

export interface NatsIntakeDeps {
  readonly gateway: NatsFront;
  append(events: readonly AuditEvent[]): Promise<void>;
  /** Of a connection that was admitted by this run of the broker. */
  admissionOf(connection: string): Admission | undefined;
  /** Newest first. */
  query(filter: RecordFilter): Promise<readonly AuditRecord[]>;
}

type Connection = Pick<Admission, "session" | "target" | "account" | "record">;

/** What a gateway may say of its own connections. That one came to be is for the broker to record. */
const ofConnections = [
  "nats.published",
  "nats.subscribed",
  "nats.unsubscribed",
  "nats.delivered",
  "nats.disconnected",
  "nats.mismatch",
] as const;

/** Of so many runs it is known how far they came: one gateway's replicas, and those before a restart. */
const maxRuns = 32;

/**
 * The checked way of a gateway's records into the journal: of its own name, about its own connections, with the session and
 * job that the broker admitted. What it says of their messages is its word, as the nats-server's totals are.
 */
export function createNatsIntake(deps: NatsIntakeDeps): NatsIntake {
  const runs = new Map<string, { taken: number; last: Promise<unknown> }>();
  const known: Known = { recall: createRecall(deps), connected: createConnected(deps) };

  const takeNext = async (run: { taken: number }, sent: readonly SentEvent[]): Promise<number> => {
    const fresh = sent.filter(({ n }) => n > run.taken);
    const events: AuditEvent[] = [];
    for (const { event } of fresh) events.push(await checked(deps, known, event));
    if (events.length > 0) await deps.append(events);
    run.taken = Math.max(run.taken, ...fresh.map(({ n }) => n));
    return run.taken;
  };

  return {
    take(id, sent) {
      const run = runs.get(id) ?? { taken: 0, last: Promise.resolve() };
      if (!runs.has(id) && runs.size >= maxRuns) runs.delete(runs.keys().next().value ?? "");
      runs.set(id, run);
      // One after the other: an answer that was lost is sent again before the first is through.
      const next = run.last.then(() => takeNext(run, sent));
      run.last = next.catch(() => undefined);
      return next;
    },
  };
}

type Whom = Pick<AuditEvent, "session" | "job">;
type Recall = (connection: string, session: string | undefined) => Promise<Connection | undefined>;

interface Known {
  readonly recall: Recall;
  readonly connected: Connected;
}

async function checked(deps: NatsIntakeDeps, known: Known, event: unknown): Promise<AuditEvent> {
  const { kind, session, trace, data } = partsOf(event);
  const schema = allowed(kind);
  const found = schema.safeParse(data);
  if (!found.success) {
    const [issue] = found.error.issues;
    throw refused(`${kind}: ${issue?.path.join(".") || "data"}: ${issue?.message ?? "not understood"}`);
  }
  const said = found.data as { readonly gateway: string; readonly connection?: string };
  if (said.gateway !== deps.gateway.name) throw refused(`${kind} of another gateway`);
  const about = await whomItIsAbout(deps, known, kind, session, said);
  return { kind, data: said, ...about, ...(trace === undefined ? {} : { trace }) } as unknown as AuditEvent;
}

interface EventParts {
  readonly kind: string;
  readonly session: string | undefined;
  readonly trace: string | undefined;
  readonly data: unknown;
}

function partsOf(event: unknown): EventParts {
  if (typeof event !== "object" || event === null) throw refused("an event is no object");
  const { kind, session, trace, data } = event as Readonly<Record<string, unknown>>;
  const wrong =
    typeof kind !== "string" ||
    (session !== undefined && typeof session !== "string") ||
    (trace !== undefined && (typeof trace !== "string" || !/^[0-9a-f]{32}$/.test(trace)));
  if (wrong) throw refused("an event has no kind, or its session or trace is none");
  return { kind, session: session as string | undefined, trace: trace as string | undefined, data };
}

function allowed(kind: string) {
  const known = [...ofConnections, "nats.refused", "decision", "policy.disagreed"] as const;
  const found = known.find((each) => each === kind);
  if (found === undefined) throw refused(`a gateway does not record ${JSON.stringify(kind.slice(0, 40))}`);
  return dataSchemas[found];
}

/** The session and job of the connection it is about, as the broker knows them; never what was sent. */
async function whomItIsAbout(
  deps: NatsIntakeDeps,
  { recall, connected }: Known,
  kind: string,
  session: string | undefined,
  said: Readonly<Record<string, unknown>>,
): Promise<Whom> {
  if (kind === "decision" && said.effect !== "deny")
    throw refused("a gateway records denials; what was allowed is in its messages");
  if (kind === "decision" || kind === "policy.disagreed") return ofDecision(deps, connected, session, said);
  const { connection, target, account } = said;
  if (kind === "nats.refused" && connection === undefined) {
    if (session !== undefined) throw refused("a refusal without connection is about no session");
    return {};
  }
  const known = typeof connection === "string" ? await recall(connection, session) : undefined;
  if (known === undefined || known.session !== session)
    throw refused(`${kind} of a connection that is not this gateway's`);
  if (kind !== "nats.refused" && (known.target !== target || known.account !== account)) {
    throw refused(`${kind} of another target or account than its connection's`);
  }
  return { session: known.session, ...(known.record.job === undefined ? {} : { job: known.record.job }) };
}

/** A decision names no connection: it must be one of a session that is connected here. */
async function ofDecision(
  { gateway }: NatsIntakeDeps,
  connected: Connected,
  session: string | undefined,
  { target }: Readonly<Record<string, unknown>>,
): Promise<Whom> {
  if (typeof target !== "string" || !gateway.targets.includes(target))
    throw refused("a decision about another's target");
  const whom = session === undefined ? undefined : await connected(session, target);
  if (whom === undefined) throw refused("a decision about a session that is not connected here");
  return whom;
}

type Connected = (session: string, target: string) => Promise<Whom | undefined>;

/** Whether a session ever connected here; a yes is remembered. */
function createConnected({ query, gateway }: NatsIntakeDeps): Connected {
  const known = new Map<string, Whom>();
  return async (session, target) => {
    const key = `${session} ${target}`;
    const remembered = known.get(key);
    if (remembered !== undefined) return remembered;
    const asked = { session, kind: "nats.connected", gateway: gateway.name, target, limit: 1 };
    const [record] = await query(asked);
    if (record === undefined) return undefined;
    const whom = { session, ...(record.job === undefined ? {} : { job: record.job }) };
    if (known.size >= maxConnections) known.delete(known.keys().next().value ?? "");
    known.set(key, whom);
    return whom;
  };
}

/** So many connections of one session are looked through, and so many are remembered. */
const maxConnections = 10_000;

/** After a restart of the broker its gateways go on: then the journal says whose a connection is. */
function createRecall({ admissionOf, query, gateway }: NatsIntakeDeps): Recall {
  const recalled = new Map<string, Connection>();
  const read = async (connection: string, session: string): Promise<Connection | undefined> => {
    const records = await query({ session, kind: "nats.connected", gateway: gateway.name, limit: maxConnections });
    const record = records.find(({ kind, data }) => kind === "nats.connected" && data.connection === connection);
    return record?.kind === "nats.connected" ? connectionOf(record) : undefined;
  };
  return async (connection, session) => {
    const known = admissionOf(connection) ?? recalled.get(connection);
    if (known !== undefined || session === undefined) return known;
    const found = await read(connection, session);
    if (found === undefined) return undefined;
    if (recalled.size >= maxConnections) recalled.delete(recalled.keys().next().value ?? "");
    recalled.set(connection, found);
    return found;
  };
}

function connectionOf({ session = "", job, data }: Extract<AuditRecord, { kind: "nats.connected" }>): Connection {
  const record = { session, ...(job === undefined ? {} : { job }) };
  return { session, target: data.target, account: data.account, record };
}

function refused(detail: string): WayleaveError {
  return new WayleaveError("invalid_request", `Records refused: ${detail}.`);
}
