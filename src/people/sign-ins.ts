import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { asWayleaveError, WayleaveError } from "../core/errors.ts";
import { encodeBase32 } from "../core/ids.ts";
import { isOperatorRecord, type OperatorRefused, type OperatorSignedIn } from "../core/operator-record.ts";
import { type Actor, actorText } from "../core/person.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import { type RoleRules, rolesOf } from "./roles.ts";
import type { SignInTable } from "./sign-in-table.ts";

/** A person's ID token, verified for this broker. */
export interface VerifiedPerson {
  readonly iss: string;
  readonly sub: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly replayKey: string;
  /** ms since the epoch: from here on the token is refused for its age alone. */
  readonly uselessAt: number;
}

export interface SignInsDeps {
  readonly clock: Pick<Clock, "now">;
  readonly recorder: Pick<Recorder, "append">;
  readonly table: SignInTable;
  readonly rules: RoleRules;
  /** Fingerprint of the configuration the roles come from. */
  readonly basis: string;
  readonly sessionMs: number;
  /** Throws `id_token_refused` or `issuer_unreachable`. */
  verify(idToken: string): Promise<VerifiedPerson>;
  /** A person whom the directory knows was not let in. Must not throw. */
  onRefused(data: OperatorRefused): void;
  /** The bootstrap token is void. */
  bootstrapEnded(): Promise<void>;
}

/** A sign-in as it is handed out: the one time its token is known. */
export interface NewSignIn {
  readonly signIn: OperatorSignedIn;
  readonly token: string;
}

/** Whose key asks, and from where. */
export interface Asker {
  /** RFC 7638 thumbprint that a proof showed. */
  readonly jkt: string;
  readonly from?: string;
}

const bootstrapSessionMs = 60 * 60_000;
export const bootstrapTtlMs = 24 * 60 * 60_000;

/** Who operates the broker from elsewhere: opened by a directory's word, bound to a key, recorded before it counts. */
export class SignIns {
  readonly #deps: SignInsDeps;
  /** ID tokens whose sign-in is not durable yet. */
  readonly #opening = new Set<string>();

  constructor(deps: SignInsDeps) {
    this.#deps = deps;
  }

  /** Opens a sign-in for the person of an ID token, once for each token. Throws. */
  byIdToken(idToken: string, asker: Asker): Promise<NewSignIn> {
    return this.#told(asker, async (know) => {
      const { verify, rules, table, clock, sessionMs } = this.#deps;
      const { iss, sub, claims, replayKey, uselessAt } = await verify(idToken);
      const who: Actor = { by: "person", iss, sub, ...nameOf(claims) };
      know(who);
      const roles = rolesOf(rules, claims);
      if (this.#opening.has(replayKey) || table.used(replayKey, uselessAt)) {
        throw new WayleaveError("id_token_refused", "The ID token has signed somebody in before; sign in again.");
      }
      this.#opening.add(replayKey);
      try {
        const times = { expires_at: clock.now() + sessionMs, replay_key: replayKey, replay_until: uselessAt };
        return await this.#open(asker, { who, roles, ...times });
      } finally {
        this.#opening.delete(replayKey);
      }
    });
  }

  /** Opens an operator's sign-in by the bootstrap token. Throws `bootstrap_refused`. */
  byBootstrap(token: string, asker: Asker): Promise<NewSignIn> {
    return this.#told(asker, async () => {
      const { bootstrap, bootstrapOver } = this.#deps.table;
      const now = this.#deps.clock.now();
      if (bootstrapOver || bootstrap === undefined) {
        throw refuseBootstrap("It is over for good: somebody has signed in, or its day has passed");
      }
      if (!equal(sha256(token), bootstrap.hash)) throw refuseBootstrap("This is not the token that was made");
      if (now >= bootstrap.expiresAt) throw refuseBootstrap("Its day has passed");
      const expires = Math.min(now + bootstrapSessionMs, bootstrap.expiresAt);
      return this.#open(asker, { who: { by: "bootstrap" }, roles: ["operator"], expires_at: expires });
    });
  }

  /** Whose token it is, for the key that was proven. Throws `sign_in_required`. */
  caller(token: string, jkt: string): OperatorSignedIn {
    const { table, basis, clock } = this.#deps;
    const found = table.byHash(sha256(token));
    // One answer for a stolen token and for none: which it was is for the record's reader, not for a thief.
    if (found?.jkt !== jkt) throw signInAgain("Nobody is signed in with this token and key");
    if (clock.now() >= found.expires_at) throw signInAgain("The sign-in is over");
    if (found.basis !== basis) throw signInAgain("The broker's configuration of people has changed since");
    return found;
  }

  /** Whose token it is, whoever presents it: for the record of a refusal. */
  ownerOf(token: string): Actor | undefined {
    return this.#deps.table.byHash(sha256(token))?.who;
  }

  /** Those that are good, oldest first. */
  list(): readonly OperatorSignedIn[] {
    const { table, basis, clock } = this.#deps;
    return table.list(clock.now()).filter((each) => each.basis === basis);
  }

  /** Throws `not_found`. */
  async end(id: string, by: Actor): Promise<void> {
    const found = this.list().find(({ sign_in: each }) => each === id);
    if (found === undefined) throw new WayleaveError("not_found", "There is no such sign-in, or it is over.");
    const data = { sign_in: id, who: found.who, by: actorText(by), until: found.expires_at };
    await this.#record([{ kind: "operator.signed_out", data }]);
  }

  async #open(
    { jkt, from }: Asker,
    more: Pick<OperatorSignedIn, "who" | "roles" | "expires_at" | "replay_key" | "replay_until">,
  ): Promise<NewSignIn> {
    const { table, basis, clock, bootstrapEnded } = this.#deps;
    const token = `wlo_${randomBytes(32).toString("base64url")}`;
    const signIn: OperatorSignedIn = {
      sign_in: `sgn_${encodeBase32(randomBytes(10))}`,
      token_hash: sha256(token),
      jkt,
      basis,
      ...more,
      ...(from === undefined ? {} : { from }),
    };
    const first = more.who.by === "person" && !table.bootstrapOver;
    const ended: AuditEvent = { kind: "operator.bootstrap_ended", data: { reason: "person_signed_in" } };
    table.prune(clock.now());
    await this.#record([{ kind: "operator.signed_in", data: signIn }, ...(first ? [ended] : [])]);
    if (first) await bootstrapEnded();
    return { signIn, token };
  }

  /** Durable before it counts: what is not recorded did not happen. */
  async #record(events: readonly AuditEvent[]): Promise<void> {
    const { recorder, table } = this.#deps;
    for (const each of await recorder.append(events)) if (isOperatorRecord(each)) table.apply(each);
  }

  /** Records what was refused, with the person as far as one is known by then. */
  async #told<T>({ from }: Asker, work: (know: (who: Actor) => void) => Promise<T>): Promise<T> {
    let known: Actor | undefined;
    try {
      return await work((who) => {
        known = who;
      });
    } catch (error) {
      const { code, message: detail } = asWayleaveError(error);
      const who = known === undefined ? {} : { who: known };
      this.#deps.onRefused({ code, detail, ...who, action: "login", ...(from === undefined ? {} : { from }) });
      throw error;
    }
  }
}

function signInAgain(why: string): WayleaveError {
  return new WayleaveError("sign_in_required", `${why}. Sign in with \`wayleave login\`.`);
}

/** For reading only: whatever the directory calls the person, if it says so. */
function nameOf({ preferred_username: user, email, name }: VerifiedPerson["claims"]): { readonly name?: string } {
  const found = [email, user, name].find((each) => typeof each === "string" && each !== "");
  return typeof found === "string" ? { name: found.slice(0, 200) } : {};
}

function refuseBootstrap(why: string): WayleaveError {
  return new WayleaveError(
    "bootstrap_refused",
    `${why}. Sign in with \`wayleave login\`, or work on the broker's machine, where the socket needs no sign-in.`,
  );
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function equal(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
