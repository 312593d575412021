import { create, type MessageShape } from "@bufbuild/protobuf";
import { trustDomainId } from "../../core/spiffe-id.ts";
import { type GrpcCall, type GrpcMethods, stream, unary } from "../../grpc/method.ts";
import { GrpcError, grpcStatus } from "../../grpc/status.ts";
import {
  JWTBundlesRequestSchema,
  JWTBundlesResponseSchema,
  JWTSVIDRequestSchema,
  JWTSVIDResponseSchema,
  ValidateJWTSVIDRequestSchema,
  ValidateJWTSVIDResponseSchema,
  X509BundlesRequestSchema,
  X509BundlesResponseSchema,
  X509SVIDRequestSchema,
  X509SVIDResponseSchema,
} from "../../proto/workload_pb.ts";
import type { SvidGround, SvidSource, X509Svids } from "./svid-source.ts";
import { refusing, refusingNow } from "./workload-refusal.ts";

const service = "/SpiffeWorkloadAPI";
const maxAudience = 32;

/**
 * The SPIFFE Workload API for one job. Every message of a stream is the whole state. Who calls is not asked: whoever can open
 * the socket is the job. `FetchWITSVID` and `FetchWITBundles`, which are drafts, are UNIMPLEMENTED by absence.
 *
 * @see https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md
 */
export function workloadApi(source: SvidSource, now: () => number): GrpcMethods {
  return {
    [`${service}/FetchX509SVID`]: stream(X509SVIDRequestSchema, X509SVIDResponseSchema, (_, call) =>
      pushes(call, source.x509, x509Svids),
    ),
    [`${service}/FetchX509Bundles`]: stream(X509BundlesRequestSchema, X509BundlesResponseSchema, (_, call) =>
      pushes(call, source.ground, x509Bundles),
    ),
    [`${service}/FetchJWTBundles`]: stream(JWTBundlesRequestSchema, JWTBundlesResponseSchema, (_, call) =>
      pushes(call, source.ground, jwtBundles),
    ),
    [`${service}/FetchJWTSVID`]: unary(JWTSVIDRequestSchema, JWTSVIDResponseSchema, async (request, call) => {
      admit(call);
      const audience = [...new Set(request.audience)];
      if (audience.length === 0 || audience.length > maxAudience || audience.includes("")) {
        throw new GrpcError(grpcStatus.invalidArgument, `name 1 to ${maxAudience} audiences, none of them empty`);
      }
      const svids = await refusing(() => source.jwt(audience, request.spiffeId || undefined));
      return create(JWTSVIDResponseSchema, {
        svids: svids.map(({ spiffeId, token, role }) => ({ spiffeId, svid: token, hint: role })),
      });
    }),
    [`${service}/ValidateJWTSVID`]: unary(
      ValidateJWTSVIDRequestSchema,
      ValidateJWTSVIDResponseSchema,
      async ({ audience, svid }, call) => {
        admit(call);
        if (audience === "") throw new GrpcError(grpcStatus.invalidArgument, "name the audience");
        const { jwtBundles: bundles } = await refusing(() => source.ground.current());
        const { validateJwtSvid } = await import("./workload-validate.ts");
        const { spiffeId, claims } = await validateJwtSvid(svid, { audience, bundles, now: new Date(now()) });
        return create(ValidateJWTSVIDResponseSchema, { spiffeId, claims });
      },
    ),
  };
}

interface Followed<T> {
  latest(): T | undefined;
  follow(listener: () => void): () => void;
}

/** Sends the whole state now and whenever it is another, until there is none any more or the caller leaves. */
async function* pushes<T, M extends { readonly $typeName: string }>(
  call: GrpcCall,
  followed: Followed<T>,
  message: (state: T) => M,
): AsyncGenerator<M> {
  admit(call);
  const { signal } = call;
  let wake: () => void = () => undefined;
  const news = (): void => wake();
  const unfollow = followed.follow(news);
  signal.addEventListener("abort", news, { once: true });
  let sent: string | undefined;
  try {
    while (!signal.aborted) {
      const state = refusingNow(() => followed.latest());
      const next = state === undefined ? undefined : message(state);
      const text = next === undefined ? sent : contentOf(next);
      if (next !== undefined && text !== sent) {
        sent = text;
        yield next;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    unfollow();
    signal.removeEventListener("abort", news);
  }
}

/** The header that keeps a browser, or anything else tricked into sending requests, from being a workload. */
function admit({ metadata }: GrpcCall): void {
  if (metadata.get("workload.spiffe.io") === "true") return;
  throw new GrpcError(grpcStatus.invalidArgument, "the metadata workload.spiffe.io: true is missing");
}

function x509Svids({ svids, trustDomain, bundles }: X509Svids): MessageShape<typeof X509SVIDResponseSchema> {
  const bundle = joined(bundles.get(trustDomain) ?? []);
  const federated = [...bundles].filter(([domain]) => domain !== trustDomain);
  return create(X509SVIDResponseSchema, {
    svids: svids.map(({ spiffeId, certificates, privateKey, role }) => ({
      spiffeId,
      x509Svid: joined(certificates),
      x509SvidKey: privateKey,
      bundle,
      hint: role,
    })),
    federatedBundles: byTrustDomainId(federated.map(([domain, roots]) => [domain, joined(roots)])),
  });
}

function x509Bundles({ x509Bundles: bundles }: SvidGround): MessageShape<typeof X509BundlesResponseSchema> {
  return create(X509BundlesResponseSchema, {
    bundles: byTrustDomainId([...bundles].map(([domain, roots]) => [domain, joined(roots)])),
  });
}

function jwtBundles({ jwtBundles: bundles }: SvidGround): MessageShape<typeof JWTBundlesResponseSchema> {
  const encoder = new TextEncoder();
  return create(JWTBundlesResponseSchema, {
    bundles: byTrustDomainId([...bundles].map(([domain, text]) => [domain, encoder.encode(text)])),
  });
}

function byTrustDomainId(bundles: readonly (readonly [string, Uint8Array])[]): Record<string, Uint8Array> {
  return Object.fromEntries(bundles.map(([domain, bytes]) => [trustDomainId(domain), bytes]));
}

function joined(ders: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(ders);
}

/** Everything a message says, to be compared. */
function contentOf(message: object): string {
  return JSON.stringify(message, (_, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value,
  );
}
