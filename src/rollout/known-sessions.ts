import type { Facts, FactValue } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { AuditRecord } from "../core/record.ts";

/** What the records so far say of one session. */
export interface KnownSession {
  readonly id: string;
  readonly identity: JobIdentity;
  readonly openedAt: number;
  /** Values last read; undefined for a fact that was asked for and had none. A name that is not here was never asked for. */
  facts: Map<string, FactValue | undefined>;
  /** A policy granted it nothing: what another would grant it then was never asked. */
  withdrawn: boolean;
}

/** Records of one session before another record, oldest first: its opening, its facts and its suspensions. */
export type Recall = (session: string, before: string) => Promise<readonly AuditRecord[]>;

/** So many are remembered; the one that was asked about longest ago is read again where it comes back. */
const maxSessions = 20_000;

/** Kinds of records that tell of sessions. */
export const sessionKinds = [
  "session.opened",
  "facts.read",
  "session.suspended",
  "session.resumed",
  "session.ended",
] as const;

/** A bounded memory of sessions, told by their records in order. */
export class KnownSessions {
  readonly #known = new Map<string, KnownSession>();
  readonly #recall: Recall;
  /** Asked for and not to be found. */
  readonly #lost = new Set<string>();

  constructor(recall: Recall) {
    this.#recall = recall;
  }

  /** One record of the stream, in order. */
  see(record: AuditRecord): void {
    const { session: id } = record;
    if (id === undefined) return;
    if (record.kind === "session.ended") this.#known.delete(id);
    else if (record.kind === "session.opened") this.#keep(openedBy(record));
    else {
      const known = this.#known.get(id);
      if (known !== undefined) tell(known, record);
    }
  }

  /** The session as it was at that record; undefined where the records do not have its opening. */
  async at(id: string, record: string): Promise<KnownSession | undefined> {
    const known = this.#known.get(id);
    if (known !== undefined) {
      this.#keep(known); // to the end: the map's order is the order of last use
      return known;
    }
    if (this.#lost.has(id)) return undefined;
    const found = await this.#recalled(id, record);
    if (found !== undefined) this.#keep(found);
    else {
      if (this.#lost.size >= maxSessions) this.#lost.clear();
      this.#lost.add(id);
    }
    return found;
  }

  /** Without waiting, where it is remembered. */
  now(id: string): KnownSession | undefined {
    return this.#known.get(id);
  }

  async #recalled(id: string, before: string): Promise<KnownSession | undefined> {
    let found: KnownSession | undefined;
    for (const record of await this.#recall(id, before)) {
      if (record.kind === "session.opened") found = openedBy(record);
      else if (found !== undefined) tell(found, record);
    }
    return found;
  }

  #keep(session: KnownSession): void {
    this.#known.delete(session.id);
    if (this.#known.size >= maxSessions) this.#known.delete(this.#known.keys().next().value ?? "");
    this.#known.set(session.id, session);
  }
}

function openedBy({ session = "", time, data }: Extract<AuditRecord, { kind: "session.opened" }>): KnownSession {
  const { identity, facts = {}, missing = [] } = data;
  return { id: session, identity, openedAt: Date.parse(time), facts: read(facts, missing), withdrawn: false };
}

function tell(session: KnownSession, record: AuditRecord): void {
  if (record.kind === "facts.read") session.facts = read(record.data.facts, record.data.missing ?? []);
  const withdrawal =
    (record.kind === "session.suspended" || record.kind === "session.resumed") &&
    record.data.reason === "policy_withdrawn";
  if (withdrawal) session.withdrawn = record.kind === "session.suspended";
}

function read(facts: Facts, missing: readonly string[]): Map<string, FactValue | undefined> {
  return new Map([
    ...missing.map((name): [string, undefined] => [name, undefined]),
    ...Object.entries(facts).map(([name, { value }]): [string, FactValue] => [name, value]),
  ]);
}
