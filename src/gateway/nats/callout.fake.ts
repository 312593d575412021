import { randomBytes } from "node:crypto";
import { openKeyChain } from "../../credential/key-chain.ts";
import type { StoredKey } from "../../credential/key-file.ts";
import { natsCalloutKeys } from "../../credential/nats-callout-keys.ts";
import { decodeNatsJwt, encodeNatsJwt } from "../../credential/nats-jwt.ts";
import { type NatsKeys, openNatsKeys } from "../../credential/nats-keys.ts";
import { createNkey, type Nkey } from "../../credential/nats-nkey.ts";
import { openXkey, sealXkey } from "../../credential/nats-xkey.ts";
import type { CalloutGrant } from "./callout.ts";

/** NATS keys in memory, with the account CI. Any time is the right time to activate one. */
export async function fakeNatsKeys(): Promise<NatsKeys> {
  let stored: readonly StoredKey[] | undefined;
  const keys = await openNatsKeys({
    file: { read: async () => undefined, write: async () => undefined },
    signing: {
      read: async () => stored,
      write: async (written) => {
        stored = written;
      },
    },
    openChain: (file) =>
      openKeyChain({
        class: "nats",
        file,
        history: [],
        recorder: { append: async () => [] },
        clock: { now: Date.now },
        windowMs: 0,
        lifeMs: 3_600_000,
        onFault: (error) => {
          throw error;
        },
      }),
    random: randomBytes,
  });
  await keys.account("CI");
  return keys;
}

export const fakeNow = Date.parse("2026-11-24T14:00:00Z");

/** A job that may do a little of everything. */
export const fakeGrant: CalloutGrant = {
  account: "CI",
  name: "gitlab:gitlab.acme.example:7:job:12",
  rights: {
    pub: ["build.status.7.*"],
    req: ["svc.echo"],
    sub: [{ subject: "deploy.events.*", queue: "workers" }],
    pull: [],
    observed: false,
  },
  inbox: "_INBOX_0123456789abcdef",
  expiresAt: fakeNow + 3_600_000,
  limits: { payload: 1_048_576, subscriptions: 100 },
};

/** What a nats-server asks: as one did, version 2.15.1, with anything in it changed. */
export interface AskedAs {
  readonly claims?: object;
  readonly nats?: object;
  readonly info?: object;
  readonly options?: object;
  readonly signer?: Nkey;
  /** Sealed to this key; false: not sealed. */
  readonly sealedTo?: string | false;
  readonly now?: number;
}

/** A nats-server that asks and reads answers, but is none. */
export function fakeNatsServer(keys: NatsKeys, mode: "operator" | "config") {
  const calloutKeys = natsCalloutKeys(keys, mode, { now: () => fakeNow });
  const server = createNkey("server", randomBytes);
  const curve = createNkey("curve", randomBytes);
  const user = createNkey("user", randomBytes).publicKey;
  const ask = (secret: object, cid: number, as: AskedAs = {}) => {
    const now = as.now ?? fakeNow;
    const token = encodeNatsJwt(
      {
        aud: "nats-authorization-request",
        exp: Math.floor(now / 1000) + 2,
        sub: calloutKeys.account,
        ...as.claims,
        nats: {
          server_id: { name: "n1", host: "127.0.0.1", id: server.publicKey, version: "2.15.1", xkey: curve.publicKey },
          user_nkey: user,
          client_info: { host: "10.0.0.7", id: cid, user: "boss", kind: "Client", type: "nats", ...as.info },
          connect_opts: { ...secret, user: "boss", lang: "go", version: "1.50", protocol: 1, ...as.options },
          type: "authorization_request",
          ...as.nats,
        },
      },
      as.signer ?? server,
      now,
    );
    const plain = Buffer.from(token);
    return as.sealedTo === false ? plain : sealXkey(curve, as.sealedTo ?? keys.xkey.publicKey, plain);
  };
  return {
    keys: calloutKeys,
    serverId: server.publicKey,
    xkey: curve.publicKey,
    user,
    ask,
    /** Claims of an answer, and of the user JWT in it. */
    read(bytes: Uint8Array) {
      const answer = decodeNatsJwt(openXkey(curve, keys.xkey.publicKey, bytes).toString()).claims;
      const { jwt, error } = answer.nats as { readonly jwt?: string; readonly error?: string };
      return { answer, error, user: jwt === undefined ? undefined : decodeNatsJwt(jwt).claims };
    },
  };
}
