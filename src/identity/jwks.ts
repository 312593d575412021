import { type CryptoKey, importJWK } from "jose";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { excerpt } from "./excerpt.ts";
import { fetchIssuerKeys } from "./issuer-documents.ts";
import { readJwks, type VerificationKey } from "./jwks-document.ts";

export interface KeySourceOptions {
  /** Exact `iss`; discovery is read below it. */
  readonly issuerUrl: string;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  /** Uploaded JWKS of an issuer that cannot be reached: nothing is fetched. */
  readonly jwks?: unknown;
  /** A copy is used without asking for this long, ms: how late a withdrawn key is noticed. */
  readonly freshMs?: number;
  /** Between two attempts while there is a copy, ms. */
  readonly refetchIntervalMs?: number;
  /** Between two attempts while there is none, ms. */
  readonly retryMs?: number;
  /** How long the last good copy serves when the issuer cannot be asked, ms. */
  readonly maxStaleMs?: number;
  /** For one attempt, ms. */
  readonly timeoutMs?: number;
}

export interface KeySourceStatus {
  readonly source: "fetched" | "uploaded";
  /** Usable keys in the present copy. */
  readonly keys: number;
  /** When the present copy was fetched, ms since the epoch. */
  readonly fetchedAt?: number;
  /** Why the last attempt failed; absent when it succeeded. */
  readonly failure?: string;
}

export interface KeySource {
  /**
   * The issuer's public key for `kid` and `alg`. Rejects `subject_token_invalid` for a key the issuer does not publish
   * or publishes for something else, `issuer_unreachable` when that cannot be known.
   */
  keyFor(kid: string, alg: string): Promise<CryptoKey>;
  status(): KeySourceStatus;
}

/** One good answer of the issuer. */
interface Copy {
  readonly keys: ReadonlyMap<string, VerificationKey>;
  readonly imported: Map<string, Promise<CryptoKey>>;
  readonly fetchedAt: number;
  readonly fetchedMonotonic: number;
}

/**
 * The keys of one issuer: fetched on first use, again when stale or when a `kid` is unknown (one attempt for all that
 * wait, at most one per `refetchIntervalMs`), and served from the last good copy for up to `maxStaleMs` of failures. A
 * `kid` missing from a fresh JWKS is refused at once. Throws `config_invalid` for an uploaded JWKS that is none.
 */
export function createKeySource(options: KeySourceOptions): KeySource {
  return options.jwks === undefined ? fetchedKeys(options) : uploadedKeys(options.issuerUrl, options.jwks);
}

function uploadedKeys(issuerUrl: string, jwks: unknown): KeySource {
  const document = readJwks(jwks);
  if (!document.ok || document.keys.size === 0) {
    const problem = document.ok ? "has no usable key" : document.problem;
    throw new WayleaveError("config_invalid", `The uploaded JWKS of ${issuerUrl} ${problem}; upload its public keys.`);
  }
  const copy: Copy = { keys: document.keys, imported: new Map(), fetchedAt: 0, fetchedMonotonic: 0 };
  return {
    keyFor: (kid, alg) =>
      copy.keys.has(kid)
        ? keyOf(copy, issuerUrl, kid, alg)
        : Promise.reject(unknownKid(issuerUrl, kid, "upload its present JWKS (jwks_file)")),
    status: () => ({ source: "uploaded", keys: copy.keys.size }),
  };
}

function fetchedKeys(options: KeySourceOptions): KeySource {
  const { issuerUrl, clock } = options;
  const { freshMs = 300_000, refetchIntervalMs = 30_000, retryMs = 3_000 } = options;
  const { maxStaleMs = 86_400_000, timeoutMs = 5_000 } = options;
  let copy: Copy | undefined;
  let flight: Promise<void> | undefined;
  let attemptedAt: number | undefined;
  let failure: string | undefined;

  const attempt = async (): Promise<void> => {
    const [fetchedAt, fetchedMonotonic] = [clock.now(), clock.monotonic()]; // before asking: a slow answer is an old one
    attemptedAt = fetchedMonotonic;
    const document = await fetchIssuerKeys({ issuerUrl, fetch: options.fetch, timeoutMs });
    failure = document.ok ? undefined : document.problem;
    if (document.ok) copy = { keys: document.keys, imported: new Map(), fetchedAt, fetchedMonotonic };
  };

  // Both clocks, because a suspended machine stops the one and a corrected time moves the other.
  const age = (of: Copy): number => Math.max(clock.monotonic() - of.fetchedMonotonic, clock.now() - of.fetchedAt);

  /** Asks the issuer where that may help, or waits for the asking that is under way. */
  const settle = async (kid: string): Promise<void> => {
    if (copy?.keys.has(kid) && age(copy) < freshMs) return;
    const pause = copy === undefined ? retryMs : refetchIntervalMs;
    const due = attemptedAt === undefined || clock.monotonic() - attemptedAt >= pause;
    if (flight === undefined && !due) return;
    flight ??= attempt().finally(() => {
      flight = undefined;
    });
    await flight;
  };

  return {
    async keyFor(kid, alg) {
      await settle(kid);
      if (copy === undefined || age(copy) > maxStaleMs) throw unreachable(issuerUrl, failure);
      if (copy.keys.has(kid)) return keyOf(copy, issuerUrl, kid, alg);
      // It may be a new key, which only the issuer knows.
      if (failure !== undefined) throw unreachable(issuerUrl, failure);
      throw unknownKid(issuerUrl, kid, "check that the token comes from this instance");
    },
    status: () => ({
      source: "fetched",
      keys: copy?.keys.size ?? 0,
      ...(copy === undefined ? {} : { fetchedAt: copy.fetchedAt }),
      ...(failure === undefined ? {} : { failure }),
    }),
  };
}

async function keyOf(copy: Copy, issuerUrl: string, kid: string, alg: string): Promise<CryptoKey> {
  const key = copy.keys.get(kid);
  if (key === undefined || !key.algorithms.includes(alg)) {
    throw new WayleaveError(
      "subject_token_invalid",
      `The token is signed with ${excerpt(alg, 10)}, for which ${issuerUrl} does not publish key ${excerpt(kid)}.`,
    );
  }
  const name = `${alg} ${kid}`;
  const imported = copy.imported.get(name) ?? importPublicKey(key, alg);
  copy.imported.set(name, imported);
  return imported;
}

async function importPublicKey(key: VerificationKey, alg: string): Promise<CryptoKey> {
  try {
    return (await importJWK(key.jwk, alg)) as CryptoKey; // bytes only for symmetric keys, which are left out
  } catch (cause) {
    throw new WayleaveError("subject_token_invalid", "The issuer's key for this token is damaged.", { cause });
  }
}

function unknownKid(issuerUrl: string, kid: string, fix: string): WayleaveError {
  const detail = `The token is signed with key ${excerpt(kid)}, which ${issuerUrl} does not publish; ${fix}.`;
  return new WayleaveError("subject_token_invalid", detail);
}

function unreachable(issuerUrl: string, failure: string | undefined): WayleaveError {
  return new WayleaveError(
    "issuer_unreachable",
    `The keys of ${issuerUrl} could not be fetched: ${failure ?? "no attempt succeeded yet"}. ` +
      "Check its url, ca_file and the network, or upload its keys (jwks_file).",
  );
}
