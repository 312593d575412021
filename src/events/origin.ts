import type { EventMessage } from "./ports.ts";

/** Who published a message, as the gateway or the broker wrote it beside the payload. */
export interface Origin {
  /** The identity header, whole: it must be exactly the session's. */
  readonly identity: string;
  readonly session: string;
  /** `nc_….<number>` through a gateway, `emt_…` from the broker. */
  readonly message: string;
}

/** Headers that only the gateway and the broker may set: clients' own, in any spelling, are stripped on the way. */
export const originHeaders = { job: "Wayleave-Job", message: "Wayleave-Message" } as const;

const sessionForm = /\bses_[0-9a-hjkmnp-tv-z]{16}\b/g;
const messageForm = /^(?:nc_[0-9a-z]{16}\.[1-9]\d{0,15}|emt_[0-9a-z]{16})$/;

/** The origin in a message's headers; undefined unless both are there once, and are well formed. */
export function readOrigin(message: Pick<EventMessage, "header">): Origin | undefined {
  const [identity, ...otherIdentities] = message.header(originHeaders.job);
  const [id, ...otherIds] = message.header(originHeaders.message);
  if (identity === undefined || id === undefined || otherIdentities.length > 0 || otherIds.length > 0) return undefined;
  if (!/^[\x20-\x7e]{1,4096}$/.test(identity) || !messageForm.test(id)) return undefined;
  // A project may be named like a session; the session comes last.
  const session = identity.match(sessionForm)?.at(-1);
  return session === undefined ? undefined : { identity, session, message: id };
}
