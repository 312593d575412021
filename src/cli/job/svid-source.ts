import { WayleaveError } from "../../core/errors.ts";
import { parseSpiffeId } from "../../core/spiffe-id.ts";
import { type After, Renewing } from "../../gateway/renewing.ts";
import type { CommandIo } from "../command-io.ts";
import { isOutage } from "./retry.ts";

export interface Identity {
  readonly spiffeId: string;
  readonly role: string;
}

/** Who the session may be, and whom it may believe. */
export interface SvidGround {
  /** Best first. */
  readonly identities: readonly Identity[];
  /** Roles that give none now, and why. */
  readonly withheld: readonly { readonly role: string; readonly because: string }[];
  /** By trust domain, its own included: DER roots. */
  readonly x509Bundles: ReadonlyMap<string, readonly Uint8Array[]>;
  /** By trust domain: its bundle, a SPIFFE JWKS document as JSON text. */
  readonly jwtBundles: ReadonlyMap<string, string>;
}

/** The session's X.509-SVIDs, best first, and whom it may believe. */
export interface X509Svids {
  readonly svids: readonly {
    readonly spiffeId: string;
    readonly role: string;
    /** DER, leaf first, without the root. */
    readonly certificates: readonly Uint8Array[];
    /** PKCS #8, DER. */
    readonly privateKey: Uint8Array;
  }[];
  readonly trustDomain: string;
  /** By trust domain, its own included: DER roots. */
  readonly bundles: ReadonlyMap<string, readonly Uint8Array[]>;
  /** ms since the epoch: when the first of them expires. */
  readonly expiresAt: number;
}

/** One X.509-SVID as the broker grants it. */
export interface GrantedX509 {
  readonly spiffeId: string;
  /** DER, leaf first. */
  readonly certificates: readonly Uint8Array[];
  /** By trust domain, its own included: DER roots. */
  readonly bundles: ReadonlyMap<string, readonly Uint8Array[]>;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

export interface JwtSvid {
  readonly spiffeId: string;
  readonly role: string;
  readonly token: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

/** What a session's broker can be asked for. Refusals and outages are thrown as the broker's client throws them. */
export interface SvidBroker {
  ground(): Promise<SvidGround>;
  x509(csr: Uint8Array, role: string): Promise<GrantedX509>;
  jwt(audience: readonly string[], spiffeId: string): Promise<Omit<JwtSvid, "role">>;
}

/** The session's SPIFFE identities, kept fresh while anybody uses them. */
export interface SvidSource {
  readonly ground: Pick<Renewing<SvidGround>, "latest" | "current" | "follow">;
  /** Renewed at half life, and when identities or bundles change. */
  readonly x509: Pick<Renewing<X509Svids>, "latest" | "current" | "follow">;
  /** A JWT-SVID for each identity, or for the one that is named. Throws `spiffe_id_refused` for one that is not the job's. */
  jwt(audience: readonly string[], spiffeId?: string): Promise<readonly JwtSvid[]>;
  /** The session is over: nothing is given any more, and whoever follows hears of it. */
  end(error: WayleaveError): void;
}

/** Identities and bundles are asked for this often while they are followed; what was learned lasts through an outage. */
const groundEveryMs = 30_000;
const groundLastsMs = 3_600_000;
const maxJwtsKept = 64;

export function svidSource(io: Pick<CommandIo, "now" | "pause">, broker: SvidBroker): SvidSource {
  const clock = { now: io.now, monotonic: () => performance.now() };
  const timing = { clock, after: afterOf(io), passes };
  let mintedFrom: string | undefined;
  const ground = new Renewing<SvidGround>({
    ...timing,
    get: async () => withIdentity(await broker.ground()),
    goodUntil: () => io.now() + groundLastsMs,
    everyMs: groundEveryMs,
  });
  const x509 = new Renewing<X509Svids>({
    ...timing,
    async get() {
      const basis = await ground.current();
      mintedFrom = describe(basis);
      return mintAll(broker, basis);
    },
    goodUntil: ({ expiresAt }) => expiresAt,
  });
  const kept = new Map<string, { readonly svid: JwtSvid; readonly renewAt: number }>();

  /** What the SVIDs were minted from is no longer so, or cannot be had any more. */
  const groundMoved = (): void => {
    if (mintedFrom !== undefined && mintedFrom !== latestOf(ground)) void x509.renew();
  };

  async function jwt(audience: readonly string[], { spiffeId, role }: Identity): Promise<JwtSvid> {
    const key = JSON.stringify([spiffeId, audience.toSorted()]);
    const held = kept.get(key);
    if (held !== undefined && io.now() < held.renewAt) return held.svid;
    try {
      const svid = { ...(await broker.jwt(audience, spiffeId)), role };
      kept.delete(key);
      kept.set(key, { svid, renewAt: io.now() + (svid.expiresAt - io.now()) / 2 });
      if (kept.size > maxJwtsKept) kept.delete(kept.keys().next().value ?? "");
      return svid;
    } catch (error) {
      if (held !== undefined && passes(error) && io.now() < held.svid.expiresAt) return held.svid;
      kept.delete(key);
      throw error;
    }
  }

  return {
    ground,
    x509: {
      latest: () => x509.latest(),
      current: () => x509.current(),
      follow(listener) {
        const unfollow = [x509.follow(listener), ground.follow(groundMoved)];
        return () => {
          for (const stop of unfollow) stop();
        };
      },
    },
    async jwt(audience, spiffeId) {
      const { identities } = await ground.current();
      const asked = identities.filter((identity) => spiffeId === undefined || identity.spiffeId === spiffeId);
      if (asked.length === 0) {
        throw new WayleaveError(
          "spiffe_id_refused",
          "This job has no such SPIFFE ID. Ask without one for those it has.",
        );
      }
      return grantedOnly(asked.map((identity) => jwt(audience, identity)));
    },
    end(error) {
      kept.clear();
      ground.end(error);
      x509.end(error);
    },
  };
}

/** An outage passes; so does a suspension, which the next heartbeat may lift: no new SVID until then, the old ones run out. */
function passes(error: unknown): boolean {
  return isOutage(error) || (error instanceof WayleaveError && error.code === "session_suspended");
}

function afterOf({ pause }: Pick<CommandIo, "pause">): After {
  return (ms, run) => {
    const off = new AbortController();
    void pause(ms, off.signal).then(() => {
      if (!off.signal.aborted) run();
    });
    return () => off.abort();
  };
}

function withIdentity(ground: SvidGround): SvidGround {
  if (ground.identities.length > 0) return ground;
  const [first] = ground.withheld;
  const why =
    first === undefined ? "no role of the policy matches it" : `role ${first.role} gives none: ${first.because}`;
  throw new WayleaveError("spiffe_id_refused", `This job has no SPIFFE ID: ${why}.`);
}

/** What SVIDs depend on, to be compared. */
function describe({ identities, x509Bundles, jwtBundles }: SvidGround): string {
  const roots = [...x509Bundles].map(([domain, ders]) => [
    domain,
    ders.map((der) => Buffer.from(der).toString("base64")),
  ]);
  return JSON.stringify([identities, roots, [...jwtBundles]]);
}

/** What is known, or why nothing is. */
function latestOf(ground: Renewing<SvidGround>): string {
  try {
    const latest = ground.latest();
    return latest === undefined ? "" : describe(latest);
  } catch (error) {
    return String(error);
  }
}

async function mintAll(broker: SvidBroker, { identities }: SvidGround): Promise<X509Svids> {
  const { createSvidRequest } = await import("./svid-request.ts");
  const minted = await grantedOnly(
    identities.map(async ({ role }) => {
      const { privateKey, csr } = await createSvidRequest();
      return { ...(await broker.x509(csr, role)), privateKey, role };
    }),
  );
  const trustDomain = parseSpiffeId(minted[0]?.spiffeId ?? "")?.trustDomain;
  if (trustDomain === undefined) throw new TypeError("the broker granted an SVID without a SPIFFE ID");
  return {
    svids: minted.map(({ spiffeId, certificates, privateKey, role }) => ({ spiffeId, certificates, privateKey, role })),
    trustDomain,
    bundles: new Map(minted.flatMap(({ bundles }) => [...bundles])),
    expiresAt: Math.min(...minted.map(({ expiresAt }) => expiresAt)),
  };
}

/**
 * What was granted, without what was refused. An outage of any is an outage of all, so that no identity is taken for lost
 * because one answer was; where everything is refused, the first refusal is thrown.
 */
async function grantedOnly<T>(asked: readonly Promise<T>[]): Promise<readonly T[]> {
  const answers = await Promise.allSettled(asked);
  const refused = answers.flatMap((answer) => (answer.status === "rejected" ? [answer.reason as unknown] : []));
  const passing = refused.find(passes);
  if (passing !== undefined) throw passing;
  const granted = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  if (granted.length === 0) throw refused[0];
  return granted;
}
