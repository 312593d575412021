import type { AuditEvent } from "../core/record.ts";
import type { StoredKey } from "./key-file.ts";
import { isLive, joinLives, type KeyClass, type KeyLife, stateRank } from "./key-life.ts";

/** The keys of one class as they truly are, after a stop of any kind. */
export interface Reconciled {
  readonly keys: readonly StoredKey[];
  /** What is true and not yet recorded; to be durable before anything is signed or published. */
  readonly events: readonly AuditEvent[];
  /** Keys in use that the file does not have: it is older than the journal. What they signed is refused from now on. */
  readonly lost: readonly string[];
}

export interface Accounts {
  readonly class: KeyClass;
  /** What the key file holds. */
  readonly stored: readonly StoredKey[];
  /** What the journal says. */
  readonly history: readonly KeyLife[];
  readonly now: number;
  readonly windowMs: number;
  readonly lifeMs: number;
}

/**
 * Joins the key file and the journal. The journal commits: a key on disk that no record speaks of was never used and is
 * dropped; a record whose effect did not reach the file counts. The file is believed where it is further than the
 * journal, which only a journal from a backup can explain. At most one key is active afterwards, and maybe none.
 */
export function reconcileKeys(accounts: Accounts): Reconciled {
  const { stored, history } = accounts;
  const recorded = new Map(history.map((life) => [life.kid, life]));
  const inFile = new Set(stored.map(({ kid }) => kid));
  const known = stored
    .map((key) => joined(key, recorded.get(key.kid), accounts))
    .filter(({ state }) => state !== "staged");
  const missing = history.filter(({ kid, state }) => !inFile.has(kid) && state !== "staged");
  const lost = missing.filter(isLive);
  const gone = missing.map((life): StoredKey => (isLive(life) ? { ...life, state: "revoked" } : life));
  const keys = [...oneActive(known, accounts), ...gone];
  const told = keys.flatMap((key) => unrecorded(key, recorded.get(key.kid), inFile.has(key.kid), accounts.class));
  return { keys, events: told.toSorted(byEffect), lost: lost.map(({ kid }) => kid) };
}

function joined(key: StoredKey, life: KeyLife | undefined, { now, windowMs, lifeMs }: Accounts): StoredKey {
  const { jwk, ...whole } = life === undefined ? key : joinLives(key, life);
  const is = { ...whole, ...(jwk !== undefined && (isLive(whole) || whole.state === "staged") ? { jwk } : {}) };
  switch (is.state) {
    case "prepared": {
      // A key that is only staged in the file was never published. The window may have been made longer since.
      const publishedAt = key.publishedAt ?? now;
      return { ...is, publishedAt, usableAt: Math.max(is.usableAt ?? 0, publishedAt + windowMs) };
    }
    case "active":
      return { ...is, lifeMs: Math.max(is.lifeMs, lifeMs) };
    case "retiring":
      // Where the file does not know when it stopped, it signed until this process's predecessor did no more.
      return key.stoppedAt === undefined ? { ...is, stoppedAt: now, lifeMs: Math.max(is.lifeMs, lifeMs) } : is;
    default:
      return is;
  }
}

/** Of several that claim to sign, the one that began last does. */
function oneActive(keys: readonly StoredKey[], { now }: Accounts): readonly StoredKey[] {
  const [newest] = keys
    .filter(({ state }) => state === "active")
    .toSorted((a, b) => (b.activatedAt ?? b.createdAt) - (a.activatedAt ?? a.createdAt));
  return keys.map((key) =>
    key.state === "active" && key !== newest ? { ...key, state: "retiring", stoppedAt: now } : key,
  );
}

function unrecorded(
  key: StoredKey,
  life: KeyLife | undefined,
  inFile: boolean,
  keyClass: KeyClass,
): readonly AuditEvent[] {
  const data = { class: keyClass, kid: key.kid };
  if (life !== undefined && stateRank(life.state) >= stateRank(key.state)) return [];
  switch (key.state) {
    case "revoked":
      return [{ kind: "key.revoked", data: inFile ? data : { ...data, by: missingKey } }];
    case "retired":
      return [{ kind: "key.retired", data }];
    case "prepared":
      return [{ kind: "key.prepared", data: { ...data, usable_at: key.usableAt ?? 0 } }];
    case "active":
      return [{ kind: "key.activated", data }];
    default: // that a key stopped signing is said by the record of the one that took over
      return [];
  }
}

/** As `by` of a revocation that nobody asked for. */
const missingKey = "the broker: its private key is not in the key file";

const effectOrder = ["key.revoked", "key.retired", "key.prepared", "key.activated"];

/** What ends comes before what begins. */
function byEffect(a: AuditEvent, b: AuditEvent): number {
  return effectOrder.indexOf(a.kind) - effectOrder.indexOf(b.kind);
}
