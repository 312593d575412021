import { jwtVerify } from "jose";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import { isUnder, parseSpiffeId } from "../core/spiffe-id.ts";
import type { TrustBundle } from "./trust-bundle.ts";

/** A runner that proved itself. */
export interface VerifiedRunner {
  readonly spiffeId: string;
  readonly trustDomain: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

/** Whose JWT-SVIDs prove a runner: the bundle and the SPIFFE ID prefixes of one trust domain. */
export interface RunnerDomain {
  readonly bundle: TrustBundle;
  readonly prefixes: readonly string[];
}

const leewaySeconds = 60;
/** SPIRE gives five minutes; more than an hour is no proof of who runs a job now. */
const maxLifeMs = 3_600_000;
const maxBytes = 8 * 1024;

const Payload = z.object({
  sub: z.string(),
  aud: z.union([z.string(), z.array(z.string()).length(1)]),
  exp: z.number(),
});

/**
 * The runner a JWT-SVID proves, for exactly this one audience. Throws `credential_invalid` for every other token, and
 * `spiffe_id_refused` for an SVID that is genuine but proves no runner. Not checked: whether it was used before; it is a
 * bearer token of a few minutes.
 *
 * @see JWT-SVID §§2-4
 */
export async function verifyRunnerSvid(
  token: string,
  audience: string,
  domain: (trustDomain: string) => RunnerDomain | undefined,
  nowMs: number,
): Promise<VerifiedRunner> {
  const { header, subject } = unverified(token);
  const id = parseSpiffeId(subject);
  if (id === undefined) throw refused("its subject is no SPIFFE ID");
  const found = domain(id.trustDomain);
  if (found === undefined) {
    throw new WayleaveError(
      "spiffe_id_refused",
      `SVIDs of trust domain ${id.trustDomain} prove no runner here; list it in spiffe.federates_with with its runners.`,
    );
  }
  const expiresAt = await check(token, header, audience, found.bundle, nowMs);
  if (!found.prefixes.some((prefix) => isUnder(id, prefix))) {
    throw new WayleaveError(
      "spiffe_id_refused",
      `${id.text} is no runner: none of the runners' prefixes of ${id.trustDomain} covers it.`,
    );
  }
  return { spiffeId: id.text, trustDomain: id.trustDomain, expiresAt };
}

const Header = z.strictObject({ alg: z.string(), kid: z.string().min(1), typ: z.enum(["JWT", "JOSE"]).optional() });

/** The header, which may hold nothing but these three members, and the subject as claimed. */
function unverified(token: string): { readonly header: z.infer<typeof Header>; readonly subject: string } {
  const [header = "", payload = "", signature, ...more] = token.split(".");
  if (token.length > maxBytes || signature === undefined || more.length > 0) throw refused("it is no compact JWS");
  try {
    const claims = z.object({ sub: z.string() }).parse(JSON.parse(Buffer.from(payload, "base64url").toString()));
    return { header: Header.parse(JSON.parse(Buffer.from(header, "base64url").toString())), subject: claims.sub };
  } catch (cause) {
    throw refused("its header or its claims are not those of a JWT-SVID", cause);
  }
}

async function check(
  token: string,
  { kid }: z.infer<typeof Header>,
  audience: string,
  bundle: TrustBundle,
  nowMs: number,
): Promise<number> {
  const key = bundle.jwtKeys.get(kid);
  if (key === undefined) throw refused("no key of its trust domain's bundle signed it");
  try {
    const { payload } = await jwtVerify(token, key.key, {
      algorithms: [...key.algorithms],
      audience,
      requiredClaims: ["exp", "sub"],
      currentDate: new Date(nowMs),
      clockTolerance: leewaySeconds,
    });
    const { exp } = Payload.parse(payload);
    if (exp * 1000 - nowMs > maxLifeMs) throw new TypeError("lives longer than an hour");
    return exp * 1000;
  } catch (cause) {
    throw refused("its signature, audience or time is wrong", cause);
  }
}

function refused(because: string, cause?: unknown): WayleaveError {
  return new WayleaveError("credential_invalid", `The runner's JWT-SVID is refused: ${because}; fetch a new one.`, {
    cause,
  });
}
