import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Narrowing } from "../core/session.ts";
import { type Issued, type Issuing, nextRefresh, planCredential, refuseEnded, sha256 } from "./issue.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Session, SessionTable } from "./table.ts";

export interface RefreshRequest {
  readonly refreshToken: string;
  readonly narrowing: Narrowing;
  /** Thumbprint of the key whose proof came along. */
  readonly jkt: string | undefined;
}

export interface RefreshDeps extends Issuing {
  readonly table: SessionTable;
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
}

/** A client that lost the answer may send the predecessor again within this. */
const graceMs = 10_000;

/** The session a refresh token stands for, and whether the token is the current one. Throws for every other token. */
export interface RefreshCheck {
  readonly session: Session;
  /** True for the predecessor, repeated in time: the same successor is due again, without rotating. */
  readonly repeated: boolean;
}

/**
 * Finds and judges a refresh token: `refresh_token_invalid`, `proof_required` without a proof and `proof_invalid` with that of
 * another key than the bound one, `session_ended`. An old generation that comes back ends its session (`refresh_reused`).
 *
 * @see RFC 9700 §4.14.2
 */
export async function checkRefreshToken(
  deps: Pick<RefreshDeps, "table" | "lifecycle" | "clock">,
  token: string,
  jkt: string | undefined,
): Promise<RefreshCheck> {
  const hash = sha256(token);
  const session = deps.table.byRefreshHash(hash);
  if (session === undefined) {
    throw new WayleaveError(
      "refresh_token_invalid",
      "No session has this refresh token; exchange the job's token again.",
    );
  }
  refuseOtherKey(session, jkt);
  refuseEnded(session);
  if (hash === session.refresh.hash) return { session, repeated: false };
  const inTime = deps.clock.now() - session.refresh.rotatedAt <= graceMs;
  if (hash === session.refresh.previousHash && inTime) return { session, repeated: true };
  await deps.lifecycle.end(session, "refresh_reused", { detail: "a rotated refresh token was used again" });
  throw new WayleaveError(
    "refresh_token_invalid",
    `A refresh token that had been replaced was used again, so session ${session.id} was ended.`,
  );
}

function refuseOtherKey({ jkt: bound }: Session, proven: string | undefined): void {
  if (bound === undefined || bound === proven) return;
  if (proven === undefined)
    throw new WayleaveError("proof_required", "This session is bound to a key; send a DPoP proof made with it.");
  throw new WayleaveError(
    "proof_invalid",
    "The DPoP proof was made with another key than the session is bound to; whoever has only the token cannot use it.",
  );
}

/** The ended session of a refresh token that was current at its end, for reading only; undefined for every other token. */
export function endedOwner(table: SessionTable, token: string, jkt: string | undefined): Session | undefined {
  const hash = sha256(token);
  const session = table.byRefreshHash(hash);
  if (session?.view.state !== "ended" || session.refresh.hash !== hash) return undefined;
  return session.jkt === undefined || session.jkt === jkt ? session : undefined;
}

/** RFC 6749 §6: a new access token; a bearer refresh token rotates, a key-bound one does not. */
export function createRefresh(deps: RefreshDeps): (request: RefreshRequest) => Promise<Issued> {
  /** One refresh of a session at a time, so that two requests never rotate to the same generation. */
  const running = new Map<string, Promise<unknown>>();

  const refreshOnce = async (request: RefreshRequest): Promise<Issued> => {
    const { session, repeated } = await checkRefreshToken(deps, request.refreshToken, request.jkt);
    if (session.view.state === "suspended") {
      throw new WayleaveError(
        "session_suspended",
        `Session ${session.id} is suspended (${session.view.suspendReason}); it mints nothing until that is over.`,
      );
    }
    const plan = await planCredential(
      deps,
      { sessionId: session.id, identity: session.identity, hardEndAt: session.view.hardEndAt, jkt: session.jkt },
      request.narrowing,
      deps.clock.now(),
    );
    const next = repeated
      ? { token: deps.refreshToken(session.id, session.refresh.generation), events: [] }
      : nextRefresh(deps, session);
    const ids = await deps.lifecycle.record([...next.events, plan.event]);
    refuseEnded(session);
    return { ...plan.issued, refreshToken: next.token, session: session.view, record: ids.at(-1) ?? "" };
  };

  return async (request) => {
    const id = deps.table.byRefreshHash(sha256(request.refreshToken))?.id ?? "";
    for (let before = running.get(id); before !== undefined; before = running.get(id))
      await before.catch(() => undefined);
    const work = refreshOnce(request);
    running.set(id, work);
    try {
      return await work;
    } finally {
      running.delete(id);
    }
  };
}
