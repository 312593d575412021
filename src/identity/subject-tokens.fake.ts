import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import type { Clock } from "../core/clock.ts";

/** A wall and monotonic clock that moves only when told. */
export class ManualClock implements Clock {
  #now = Date.parse("2026-11-24T09:30:00Z");
  now = (): number => this.#now;
  monotonic = (): number => this.#now - 1_000_000;
  get seconds(): number {
    return Math.floor(this.#now / 1000);
  }
  advance(ms: number): void {
    this.#now += ms;
  }
}

/** An issuer's signing key and the JWK it publishes. */
export interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicPem: string;
  readonly jwk: Readonly<Record<string, unknown>>;
}

export function signingKey(kid: string, modulusLength = 2048): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength });
  const { n, e } = publicKey.export({ format: "jwk" });
  return {
    kid,
    privateKey,
    publicPem: publicKey.export({ format: "pem", type: "spki" }).toString(),
    jwk: { kty: "RSA", use: "sig", alg: "RS256", kid, n, e },
  };
}

const encode = (value: string | object): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** A compact JWS over exactly these texts (or objects), valid or not. */
export function rs256(key: SigningKey, payload: string | object, header?: string | object): string {
  const input = `${encode(header ?? { alg: "RS256", kid: key.kid, typ: "JWT" })}.${encode(payload)}`;
  return `${input}.${sign("sha256", Buffer.from(input), key.privateKey).toString("base64url")}`;
}

/** The classic forgery: HMAC with the issuer's public key as the secret. */
export function hs256(secret: string, payload: object, header: object): string {
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
}

/** A `fetch` over a table of answers that counts what it is asked; a function may answer or throw. */
export function tableFetch(answers: Record<string, unknown | (() => Response | Promise<Response>)>) {
  const asked: string[] = [];
  const fetchIt: typeof fetch = async (input, init) => {
    const url = String(input);
    asked.push(url);
    if (init?.redirect !== "manual") throw new TypeError("redirects must not be followed");
    const answer = answers[url];
    if (typeof answer === "function") return (await answer()) as Response;
    return answer === undefined ? new Response("nothing here", { status: 404 }) : Response.json(answer);
  };
  return { fetch: fetchIt, asked };
}
