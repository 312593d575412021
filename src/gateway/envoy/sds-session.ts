import { create, type JsonObject } from "@bufbuild/protobuf";
import { GrpcError, grpcStatus } from "../../grpc/status.ts";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import {
  DeltaDiscoveryResponseSchema,
  DiscoveryResponseSchema,
  ResourceSchema,
} from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { plain } from "./discovery-node.ts";
import type { DiscoverySession } from "./discovery-stream.ts";
import { type NamedSecret, type Secrets, secretNamed, secretTypeUrl } from "./sds-secret.ts";

/** What one client says and does, for a log. */
export interface SecretWatch {
  /** It asks for a name that means nothing here, and waits for it. Said once for each name of a stream. */
  unknown(name: string): void;
  /** It refused what it was sent, and stays with what it has. */
  rejected(detail: string): void;
}

export interface SecretSessionDeps {
  /** The newest secrets; undefined while there are none yet. Throws for a client that has none, or no longer. */
  latest(): Secrets | undefined;
  readonly watch: SecretWatch;
}

const maxNames = 64;
const maxNameLength = 2048;
const maxDetail = 300;

/**
 * The state-of-the-world protocol on one stream: a response holds every secret asked for that exists, and goes out when one
 * of them changes. A name without a secret is left out, and sent once it has one.
 *
 * @see https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview
 */
export function secretsSession(deps: SecretSessionDeps): DiscoverySession<DiscoveryRequest, DiscoveryResponse> {
  const client = secretClient(deps);
  let names: readonly string[] = [];
  let version = "";

  return {
    received(request) {
      const first = !client.known;
      if (!client.heard(request)) return;
      names = checked([...new Set(request.resourceNames)]);
      if (first) version = request.versionInfo;
    },
    next() {
      const found = client.find(names);
      if (found.length === 0) return undefined;
      const newest = found.map(({ name, version: of }) => `${name}@${of}`).join(" ");
      if (newest === version) return undefined;
      version = newest;
      const resources = found.map(({ resource }) => resource);
      return create(DiscoveryResponseSchema, {
        versionInfo: newest,
        typeUrl: secretTypeUrl,
        nonce: client.nextNonce(),
        resources,
      });
    },
    over: () => undefined,
  };
}

/** The incremental protocol on one stream: only what changed is sent, and what is no longer there is named. */
export function deltaSecretsSession(
  deps: SecretSessionDeps,
): DiscoverySession<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
  const client = secretClient(deps);
  /** Version the client has of each name; empty: none. */
  const versions = new Map<string, string>();

  return {
    received(request) {
      const kept = client.known ? {} : request.initialResourceVersions;
      client.heard(request);
      for (const name of request.resourceNamesUnsubscribe) versions.delete(name);
      for (const name of request.resourceNamesSubscribe) versions.set(name, kept[name] ?? "");
      checked([...versions.keys()]);
    },
    next() {
      const found = client.find([...versions.keys()]);
      const changed = found.filter(({ name, version }) => versions.get(name) !== version);
      const removed = client.ready
        ? [...versions].filter(([name, version]) => version !== "" && !found.some((each) => each.name === name))
        : [];
      if (changed.length + removed.length === 0) return undefined;
      for (const { name, version } of changed) versions.set(name, version);
      for (const [name] of removed) versions.set(name, "");
      const resources = changed.map(({ name, version, resource }) =>
        create(ResourceSchema, { name, version, resource }),
      );
      return create(DeltaDiscoveryResponseSchema, {
        typeUrl: secretTypeUrl,
        nonce: client.nextNonce(),
        resources,
        removedResources: removed.map(([name]) => name),
      });
    },
    over: () => undefined,
  };
}

interface Said {
  readonly typeUrl: string;
  readonly responseNonce: string;
  readonly errorDetail?: { readonly message: string } | undefined;
  readonly node?: { readonly metadata?: JsonObject | undefined } | undefined;
}

interface Found extends NamedSecret {
  readonly name: string;
}

/** The other end of one stream: how its Envoy wants its roots, and what it made of what it was sent. */
function secretClient({ latest, watch }: SecretSessionDeps) {
  const told = new Set<string>();
  let known = false;
  let ready = false;
  let plainRoots = false;
  let nonces = 0;

  return {
    /** True after the first request. */
    get known() {
      return known;
    },
    /** True where the last `find` had secrets to look in. */
    get ready() {
      return ready;
    },
    nextNonce: () => String(++nonces),

    /** False for an answer to a response that is not the newest: what it asks for is old too. */
    heard(said: Said): boolean {
      if (said.typeUrl !== "" && said.typeUrl !== secretTypeUrl) {
        throw new GrpcError(grpcStatus.invalidArgument, "only secrets are served here");
      }
      if (!known) plainRoots = wantsPlainRoots(said.node?.metadata);
      known = true;
      if (said.responseNonce !== "" && said.responseNonce !== String(nonces)) return false;
      if (said.errorDetail !== undefined && nonces > 0) watch.rejected(plain(said.errorDetail.message, maxDetail));
      return true;
    },

    find(names: readonly string[]): readonly Found[] {
      const secrets = names.length === 0 ? undefined : latest();
      ready = secrets !== undefined;
      if (secrets === undefined) return [];
      return names.flatMap((name) => {
        const secret = secretNamed(name, secrets, { plainRoots });
        if (secret !== undefined) return [{ name, ...secret }];
        if (!told.has(name)) watch.unknown(plain(name, maxDetail));
        told.add(name);
        return [];
      });
    },
  };
}

/** As SPIRE's agent reads it. Envoys before 1.18 have no SPIFFE validator; nobody can run one any more. */
function wantsPlainRoots(metadata: JsonObject | undefined): boolean {
  const said = metadata?.disable_spiffe_cert_validation;
  return said === true || said === "true";
}

function checked(names: readonly string[]): readonly string[] {
  if (names.length <= maxNames && names.every((name) => name.length <= maxNameLength)) return names;
  throw new GrpcError(grpcStatus.invalidArgument, `at most ${maxNames} names of at most ${maxNameLength} characters`);
}
