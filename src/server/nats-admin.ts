import { randomBytes } from "node:crypto";
import type { NatsGatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Recorder } from "../core/record.ts";
import { credsFile } from "../credential/nats-creds.ts";
import { encodeNatsJwt } from "../credential/nats-jwt.ts";
import type { NatsKeys } from "../credential/nats-keys.ts";
import { createNkey } from "../credential/nats-nkey.ts";

/**
 * A credentials file for one account at the servers themselves, good for `ttlMs`: what streams are made with, since no job
 * may. Whatever is done with it has no record but this one. Throws `invalid_request` in config mode, where the servers' own
 * file names the users of an account, and for an account that no job and no policy named.
 */
export async function mintNatsAdmin(
  deps: {
    readonly natsKeys: NatsKeys;
    readonly clock: Pick<Clock, "now">;
    readonly recorder: Pick<Recorder, "append">;
    ensure(account: string): Promise<void>;
  },
  { name, authentication, servers }: NatsGatewayConfig,
  { account, ttlMs, by }: { readonly account: string; readonly ttlMs: number; readonly by: string },
) {
  if (authentication === "config") {
    throw new WayleaveError(
      "invalid_request",
      `The servers behind gateway ${name} are in config mode: add a user of your own to account ${account} in their file.`,
    );
  }
  const known = deps.natsKeys.find(account);
  if (known === undefined) {
    const names = deps.natsKeys.accounts().map((each) => each.name);
    throw new WayleaveError(
      "invalid_request",
      `There is no account ${JSON.stringify(account)} yet; there is: ${names.join(", ") || "none"}. Accounts come with policy, or with the first job of theirs.`,
    );
  }
  await deps.ensure(account);
  const now = deps.clock.now();
  const expiresAt = Math.floor((now + ttlMs) / 1000) * 1000;
  const user = createNkey("user", (bytes) => randomBytes(bytes));
  await deps.recorder.append([
    {
      kind: "nats.admin_minted",
      data: { gateway: name, account, key: user.publicKey, expires_at: expiresAt, by },
    },
  ]);
  const jwt = encodeNatsJwt(
    {
      sub: user.publicKey,
      name: "wayleave-admin",
      exp: expiresAt / 1000,
      nats: {
        type: "user",
        ...{ subs: -1, data: -1, payload: -1, issuer_account: known.publicKey },
        ...{ pub: { allow: [">"] }, sub: { allow: [">"] } },
      },
    },
    known.current,
    now,
  );
  const [server] = servers;
  const url = server === undefined ? "" : `${server.tls ? "tls" : "nats"}://${server.host}:${server.port}`;
  const remark = `Made by Wayleave for an operator; it is over at ${new Date(expiresAt).toISOString()}.`;
  return { creds: credsFile(jwt, user.seed, remark), key: user.publicKey, url, expiresAt };
}
