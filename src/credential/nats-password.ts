import { createHmac, createSecretKey, hkdfSync, timingSafeEqual } from "node:crypto";

/** What a NATS credential of a job is good for: one session, at one gateway, for one target. Whether the session lives is not in it. */
export interface NatsGrant {
  readonly session: string;
  /** Gateway name. */
  readonly gateway: string;
  /** Target name. */
  readonly target: string;
}

/** The passwords that `wayleave nats env` prints. */
export interface NatsPasswords {
  /** The same grant gives the same password, also after a restart. Only letters, digits, `-`, `_` and `.`, so that it fits a URL. */
  password(grant: NatsGrant): string;
  /** The grant of a password of ours; undefined for every other text. */
  read(password: string): NatsGrant | undefined;
}

export const natsPasswordPrefix = "wln_";

/** No name is so long that a password of ours were longer. */
const maxLength = 512;

/** Derived from the operator's 32-byte key: nothing is kept, and only who holds that key can make one. @see RFC 5869, RFC 2104 */
export function createNatsPasswords(operatorKey: Uint8Array): NatsPasswords {
  // As an object: making one for each password costs more than the MAC itself.
  const key = createSecretKey(new Uint8Array(hkdfSync("sha256", operatorKey, "", "wayleave nats password v1", 32)));
  const mac = (body: string): Buffer => createHmac("sha256", key).update(body).digest();
  return {
    password(grant) {
      const body = Buffer.from(writeGrant(grant)).toString("base64url");
      return `${natsPasswordPrefix}${body}.${mac(body).toString("base64url")}`;
    },
    read(password) {
      if (!password.startsWith(natsPasswordPrefix) || password.length > maxLength) return undefined;
      const [body = "", sent = "", ...more] = password.slice(natsPasswordPrefix.length).split(".");
      // One password has one spelling: what base64url would read around is none of ours.
      const presented = Buffer.from(sent, "base64url");
      if (more.length > 0 || presented.toString("base64url") !== sent) return undefined;
      const expected = mac(body);
      if (presented.length !== expected.length || !timingSafeEqual(presented, expected)) return undefined;
      return readGrant(Buffer.from(body, "base64url").toString("utf8"));
    },
  };
}

/** One line of three names. Throws `TypeError` for a name with a space, which no configuration or policy gives. */
export function writeGrant({ session, gateway, target }: NatsGrant): string {
  const names = [session, gateway, target];
  if (names.some((name) => !/^[^\s]+$/.test(name))) throw new TypeError("a grant's names have no spaces");
  return names.join(" ");
}

export function readGrant(text: string): NatsGrant | undefined {
  const [session, gateway, target, ...more] = text.split(" ");
  if (session === undefined || gateway === undefined || target === undefined || more.length > 0) return undefined;
  return { session, gateway, target };
}
