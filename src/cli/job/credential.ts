import type { TokenResponse } from "../../api/contract.ts";
import type { CommandIo } from "../command-io.ts";
import { type Access, keepAccess } from "./access.ts";
import type { JobSession } from "./job-session.ts";
import type { ProofKey } from "./proof-key.ts";
import type { TargetRoute } from "./target-address.ts";

/** One request of the job's command, as its gateway is sent it. */
export interface OutgoingRequest {
  readonly method: string;
  /** With query. */
  readonly path: string;
}

/** Headers that prove whose request it is. */
export type Credential = (request: OutgoingRequest) => Promise<readonly (readonly [name: string, value: string])[]>;

/** A token that whoever holds it may send. */
export function bearerCredential(access: Pick<Access, "current">): Credential {
  return async () => [["authorization", `Bearer ${await access.current()}`]];
}

/** A token bound to the session's key, with a proof for each request. @see RFC 9449 §7.1 */
export function boundCredential(
  io: Pick<CommandIo, "now">,
  access: Pick<Access, "current">,
  key: ProofKey,
  { gateway, host }: Pick<TargetRoute, "gateway" | "host">,
): Credential {
  return async ({ method, path }) => {
    const token = await access.current();
    const url = `${gateway.protocol}//${host}${path.split("?", 1)[0]}`;
    return [
      ["authorization", `DPoP ${token}`],
      ["dpop", key.proof({ method, url, nowMs: io.now(), token })],
    ];
  };
}

/** Access to the targets that take only tokens bound to a key: another token than the job's own, kept fresh beside it. */
export async function keepBoundAccess(
  io: Pick<CommandIo, "now" | "pause">,
  session: Pick<JobSession, "token" | "renewFor">,
  onRefused: Parameters<typeof keepAccess>[1]["onRefused"],
): Promise<Access | undefined> {
  const targets = session.token.proof_targets?.map(({ name }) => name) ?? [];
  if (targets.length === 0) return undefined;
  const renew = (): Promise<TokenResponse> => session.renewFor(targets);
  return keepAccess(io, { first: await renew(), renew, onToken: () => undefined, onRefused });
}
