import { createHash } from "node:crypto";
import { z } from "zod";
import {
  type AwsProof,
  awsAudienceHeader,
  awsNonceHeader,
  awsProofContentType,
  awsProofPrefix,
} from "../../core/aws-proof.ts";
import type { Clock } from "../../core/clock.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { JobIdentity } from "../../core/identity.ts";
import { askSts } from "./ask-sts.ts";
import type { AwsConfig } from "./config.ts";
import { awsIdentity, parsePrincipal } from "./principal.ts";

export interface SignedVerifierOptions {
  /** Configured issuer name. */
  readonly name: string;
  readonly audience: string;
  readonly config: AwsConfig;
  readonly clock: Clock;
  readonly fetch: typeof fetch;
  /** For STS, ms. */
  readonly timeoutMs: number;
}

/** A caller that STS vouched for, as a verified subject token. Times are ms since the epoch. */
export interface VerifiedCaller {
  readonly identity: JobIdentity;
  readonly issuer: string;
  /** The access key id, which is no secret. */
  readonly kid: string;
  readonly replayKey: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

const Proof = z.strictObject({
  endpoint: z.string().max(256),
  authorization: z.string().max(1024),
  date: z.string(),
  nonce: z.string().regex(/^[A-Za-z0-9_-]{16,64}$/),
  token: z
    .string()
    .regex(/^[A-Za-z0-9+/=]{1,8192}$/)
    .optional(),
});

const maxProofBytes = 16_384;
/** A signature is forwarded only so near to its own time; STS itself takes it for 15 min. */
const freshMs = 5 * 60_000;
const stsWindowMs = 15 * 60_000;
const maxAtOnce = 16;

export const isAwsProof = (subjectToken: string): boolean => subjectToken.startsWith(awsProofPrefix);

/**
 * Verifies signed `GetCallerIdentity` requests by sending them to STS, at configured addresses only. Rejects
 * `subject_token_invalid`, `subject_token_expired`, `issuer_unreachable` or `identity_refused`. The replay key is the
 * signature: whoever cannot sign can make no second one. Not checked: whether it was used before.
 */
export function createSignedVerifier(options: SignedVerifierOptions): (proof: string) => Promise<VerifiedCaller> {
  let asking = 0;
  return async (text) => {
    const proof = parseProof(text);
    const signed = checkForm(proof, options);
    if (asking >= maxAtOnce) {
      throw new WayleaveError("issuer_unreachable", "Too many signed requests wait for STS; try again.");
    }
    asking++;
    try {
      const caller = await askSts(options, proof.endpoint, signed.headers);
      const principal = parsePrincipal(caller.arn);
      if (principal.account !== caller.account) {
        throw new WayleaveError("identity_refused", "STS named an ARN of another account than the caller's.");
      }
      const identity = awsIdentity({ principal, userId: caller.userId }, options.config, {
        name: options.name,
        url: proof.endpoint,
      });
      const { kid, replayKey, issuedAt } = signed;
      return { identity, issuer: options.name, kid, replayKey, issuedAt, expiresAt: issuedAt + stsWindowMs };
    } finally {
      asking--;
    }
  };
}

function parseProof(text: string): AwsProof {
  const part = text.slice(awsProofPrefix.length);
  if (text.length > maxProofBytes || !/^[A-Za-z0-9_-]+$/.test(part)) throw invalid("is no base64url, or too long");
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
  } catch {
    throw invalid("holds no JSON");
  }
  const read = Proof.safeParse(value);
  if (!read.success)
    throw invalid("must have endpoint, authorization, date, nonce and, for a role, token, and nothing else");
  const { token, ...rest } = read.data;
  return token === undefined ? rest : { ...rest, token };
}

interface Signed {
  readonly headers: Readonly<Record<string, string>>;
  readonly kid: string;
  readonly replayKey: string;
  readonly issuedAt: number;
}

const authorizationForm =
  /^AWS4-HMAC-SHA256 Credential=([A-Z0-9]{16,128})\/(\d{8})\/([a-z0-9-]{1,32})\/sts\/aws4_request, ?SignedHeaders=([a-z0-9;-]{1,256}), ?Signature=([0-9a-f]{64})$/;

/** Everything that can be judged here before STS is asked, and the headers it is asked with. */
function checkForm(proof: AwsProof, { audience, config, clock }: SignedVerifierOptions): Signed {
  if (config.sts?.includes(proof.endpoint) !== true) {
    throw invalid("was signed for an address that is not among issuers[].aws.sts");
  }
  const [, kid = "", day = "", region = "", signedHeaders = "", signature = ""] =
    authorizationForm.exec(proof.authorization) ?? [];
  if (kid === "") throw invalid("has no authorization of AWS Signature Version 4 for sts");
  const { host, hostname } = new URL(proof.endpoint);
  const regional = /^sts(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$/.exec(hostname)?.[1];
  if (regional !== undefined && regional !== region) throw invalid("was signed for another region than its address");
  checkSignedHeaders(signedHeaders.split(";"), proof.token !== undefined);
  const issuedAt = checkDate(proof.date, day, clock.now());
  return {
    headers: {
      host,
      "content-type": awsProofContentType,
      "x-amz-date": proof.date,
      ...(proof.token === undefined ? {} : { "x-amz-security-token": proof.token }),
      [awsAudienceHeader]: audience,
      [awsNonceHeader]: proof.nonce,
      authorization: proof.authorization,
    },
    kid,
    replayKey: createHash("sha256").update(`aws4\0${signature}`).digest("hex"),
    issuedAt,
  };
}

/** Each header that carries meaning must be under the signature, and no header that we do not send. */
function checkSignedHeaders(signed: readonly string[], temporary: boolean): void {
  const needed = [
    "host",
    "x-amz-date",
    awsAudienceHeader,
    awsNonceHeader,
    ...(temporary ? ["x-amz-security-token"] : []),
  ];
  const lacking = needed.find((name) => !signed.includes(name));
  if (lacking !== undefined) throw invalid(`does not sign the header ${lacking}`);
  const known = new Set([...needed, "content-type"]);
  if (new Set(signed).size !== signed.length || !signed.every((name) => known.has(name))) {
    throw invalid(`may sign only the headers ${[...known].join(", ")}`);
  }
}

/** `20261121T195000Z`, of the day in the credential's scope, at most five minutes from now. */
function checkDate(date: string, day: string, now: number): number {
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date) ?? [];
  const at = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
  if (Number.isNaN(at) || date.slice(0, 8) !== day) throw invalid("has no date, or another than its credential");
  if (now - at > freshMs) {
    throw new WayleaveError("subject_token_expired", `The AWS request was signed ${date}; sign a new one.`);
  }
  if (at - now > freshMs) throw invalid("was signed in the future; set the clocks of the job and of this broker");
  return at;
}

function invalid(problem: string): WayleaveError {
  return new WayleaveError("subject_token_invalid", `The signed AWS request ${problem}.`);
}
