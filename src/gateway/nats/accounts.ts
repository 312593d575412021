import { createHash } from "node:crypto";
import type { NatsAccountPushed } from "../../core/nats-record.ts";
import type { NatsClaims, SignClaims } from "./account-claims.ts";
import type { SystemAccount } from "./system-account.ts";

export interface AccountsOptions {
  /** Gateway name from the inventory. */
  readonly gateway: string;
  readonly servers: Pick<SystemAccount, "push" | "lookUp">;
  /** What the account must be at the servers now. */
  describe(account: string): Promise<NatsClaims>;
  readonly sign: SignClaims;
  /** ms since the epoch. */
  now(): number;
  /** Resolves when the record is durable. */
  record(data: NatsAccountPushed): Promise<void>;
}

/** Makes accounts known to nats-servers in operator mode, and keeps them as they should be. */
export interface Accounts {
  /**
   * Resolves when every server has the account as it is now, and what was pushed for it is recorded: before that, no job may
   * be let in. Rejects `nats_unavailable` where a server did not take it, and like `describe` and `record`.
   */
  ensure(account: string): Promise<void>;
  /**
   * Signing keys or settings changed: brings these accounts up to date, whether or not they were ensured before. Resolves
   * with those that failed, which their next `ensure` tries again.
   */
  refresh(accounts: readonly string[]): Promise<readonly { readonly account: string; readonly error: unknown }[]>;
  /** Servers may be others than before: the next `ensure` of each account looks again. */
  forget(): void;
}

/**
 * Accounts are only ever added and updated, which disconnects nobody but users of a signing key that is no longer listed;
 * none is deleted, since what its streams hold would go with it. Nothing is pushed that every server already has: after a
 * start they are asked first. A new JWT is always later than the one it replaces, because servers that meet keep the later
 * one. Where the process stops between a push and its record, the next start finds the account there and records nothing.
 */
export function createAccounts(options: AccountsOptions): Accounts {
  const known = new Map<string, AccountState>();

  const stateOf = (account: string): AccountState => {
    const state = known.get(account) ?? newState();
    known.set(account, state);
    return state;
  };
  /** One after the other for each account, so that an older JWT never overtakes a newer one. */
  const inTurn = (state: AccountState, step: () => Promise<void>): Promise<void> => {
    const before = state.last ?? Promise.resolve();
    const done = before.catch(() => undefined).then(step);
    state.last = done;
    return done;
  };
  const bring = (account: string, state: AccountState): Promise<void> =>
    inTurn(state, async () => {
      if (state.current) return;
      // A change that comes while this runs makes it stale again.
      state.current = true;
      if (state.forgotten) state.pushed = undefined;
      state.forgotten = false;
      try {
        await bringUpToDate(options, account, state);
      } catch (error) {
        state.current = false;
        throw error;
      }
    });

  return {
    ensure(account) {
      const state = stateOf(account);
      return state.current && state.last !== undefined ? state.last : bring(account, state);
    },
    async refresh(accounts) {
      const failed: { account: string; error: unknown }[] = [];
      for (const account of accounts) {
        const state = stateOf(account);
        state.current = false;
        await bring(account, state).catch((error: unknown) => failed.push({ account, error }));
      }
      return failed;
    },
    forget() {
      for (const state of known.values()) {
        state.current = false;
        state.forgotten = true;
      }
    },
  };
}

interface AccountState {
  /** Nothing changed since it was last brought up to date, or is being brought. */
  current: boolean;
  /** What every server has, as far as is known. */
  pushed: Pushed | undefined;
  /** `pushed` is of servers that may be others now. */
  forgotten: boolean;
  /** NumericDate of the last push, even of one that failed: a server that is away may have it. */
  latest: number;
  unrecorded: NatsAccountPushed | undefined;
  last: Promise<void> | undefined;
}

/** A JWT that servers have: there may be very many accounts. */
interface Pushed {
  readonly hash: string;
  readonly issuedAt: number;
}

function newState(): AccountState {
  return { current: false, pushed: undefined, forgotten: false, latest: 0, unrecorded: undefined, last: undefined };
}

async function bringUpToDate(options: AccountsOptions, account: string, state: AccountState): Promise<void> {
  const { servers, sign } = options;
  const claims = await options.describe(account);
  const there = state.pushed === undefined ? (await servers.lookUp(claims.sub)).map(readPushed) : [state.pushed];
  const same = there.length > 0 && there.every((each) => each?.hash === hashOf(sign(claims, each?.issuedAt ?? 0)));
  if (!same) {
    state.pushed = undefined;
    const latest = Math.max(state.latest, ...there.map((each) => each?.issuedAt ?? 0));
    const issuedAt = Math.max(Math.floor(options.now() / 1000), latest + 1);
    state.latest = issuedAt;
    const jwt = sign(claims, issuedAt);
    await servers.push(jwt);
    state.pushed = { hash: hashOf(jwt), issuedAt };
    state.unrecorded = pushedOf(options.gateway, claims);
  } else state.pushed = there[0];
  if (state.unrecorded === undefined) return;
  await options.record(state.unrecorded);
  state.unrecorded = undefined;
}

function pushedOf(gateway: string, claims: NatsClaims): NatsAccountPushed {
  const { signing_keys: keys } = claims.nats;
  const texts = Array.isArray(keys) ? keys.filter((key) => typeof key === "string") : [];
  return { gateway, account: claims.name, key: claims.sub, signing_keys: texts };
}

const hashOf = (jwt: string): string => createHash("sha256").update(jwt).digest("base64");

/** What a server has; undefined where that is nothing or cannot be read, so that it is pushed over. */
function readPushed(jwt: string): Pushed | undefined {
  try {
    const body: unknown = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString());
    const { iat } = body as { iat?: unknown };
    return typeof iat === "number" && Number.isSafeInteger(iat) ? { hash: hashOf(jwt), issuedAt: iat } : undefined;
  } catch {
    return undefined;
  }
}
