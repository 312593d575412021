import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { NatsUserBody } from "./nats-claims.ts";
import { decodeNatsJwt, encodeNatsJwt, unverifiedExpiry } from "./nats-jwt.ts";
import type { NatsKeys } from "./nats-keys.ts";
import { isPublicNkey } from "./nats-nkey-text.ts";
import { openXkey, sealXkey } from "./nats-xkey.ts";

/** Claims of a user JWT, but for where it is placed and who signs. */
export interface UnplacedUser {
  readonly sub: string;
  readonly name: string;
  readonly exp: number;
  readonly nats: Omit<NatsUserBody, "issuer_account">;
}

/**
 * What the auth callout needs of the keys. In operator mode the user's account signs, and the AUTH account answers; in config
 * mode the configured issuer does both, and the audience is the account's name.
 */
export function natsCalloutKeys(keys: NatsKeys, mode: "operator" | "config", clock: Pick<Clock, "now">) {
  const answering = mode === "operator" ? keys.auth.account : keys.issuer;
  return {
    account: answering.publicKey,
    expiryOf: unverifiedExpiry,
    decode: (token: string) => decodeNatsJwt(token).claims,
    isServerKey: (text: unknown): text is string => isPublicNkey(text, "server"),
    isUserKey: (text: unknown): text is string => isPublicNkey(text, "user"),
    /** Throws `key_unavailable` for an account that nobody asked for before, and where no key signs. */
    signUser(account: string, user: UnplacedUser): string {
      const now = clock.now();
      if (mode === "config") return encodeNatsJwt({ ...user, aud: account }, keys.issuer, now);
      const at = keys.find(account);
      if (at === undefined)
        throw new WayleaveError("key_unavailable", `NATS account ${account} was never made known to the servers.`);
      return encodeNatsJwt({ ...user, nats: { ...user.nats, issuer_account: at.publicKey } }, at.current, now);
    },
    signResponse(response: {
      readonly sub: string;
      readonly aud: string;
      readonly nats: { readonly type: "authorization_response"; readonly jwt?: string; readonly error?: string };
    }): string {
      return encodeNatsJwt(response, answering, clock.now());
    },
    xkey: {
      open: (peer: string, sealed: Uint8Array) => openXkey(keys.xkey, peer, sealed),
      seal: (peer: string, plain: Uint8Array) => sealXkey(keys.xkey, peer, plain),
    },
  };
}
