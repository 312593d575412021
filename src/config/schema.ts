import { z } from "zod";
import { Aws } from "../ci/aws/config.ts";
import { Oidc } from "../ci/oidc/config.ts";
import { issuerTypes } from "../core/identity.ts";
import { address, describedFile, duration, name, secret, secretFile, Tls, url } from "./fields.ts";
import { Gateway } from "./gateways.ts";
import { People } from "./people.ts";
import { PolicySource, sourcesDoc } from "./policy-sources.ts";
import { Store } from "./store.ts";

const Webhook = z.strictObject({
  name: name("Last part of the webhook's address, `/hooks/<issuer>/<name>`. 1 to 16 of a-z, 0-9 and -."),
  projects: z
    .array(z.string().min(1))
    .describe("Ids or paths of the projects this webhook may speak for (Buildkite: pipelines). Default: none.")
    .optional(),
  groups: z
    .array(z.string().min(1))
    .describe(
      "Paths of the groups it may speak for, with everything below (Buildkite: the organization). Default: none.",
    )
    .optional(),
  events: z
    .string()
    .min(1)
    .describe(
      "NATS target where each job and pipeline status it tells of is published, on build.status.<project id>.<pipeline id>.<status>. Default: not published.",
    )
    .optional(),
  token_file: secretFile("the webhook's secret token"),
  token: secret("the webhook's secret token", "token_file"),
  signing_token_file: secretFile("the webhook's signing token"),
  signing_token: secret("the webhook's signing token", "signing_token_file"),
});

const Api = z.strictObject({
  url: url("Base of the CI's REST API. Default: where the CI's own documentation puts it.").optional(),
  token_file: secretFile("a read-only API token"),
  token: secret("a read-only API token", "token_file"),
});

const Start = z.strictObject({
  projects: z
    .record(
      z.string().min(1),
      z.strictObject({
        token_file: secretFile("a pipeline trigger token of the project"),
        token: secret("a pipeline trigger token of the project", "token_file"),
      }),
    )
    .describe("GitLab: projects that events may start pipelines in, by path, each with a trigger token. Default: none.")
    .optional(),
  token_file: secretFile("Buildkite: an API token with write_builds and read_builds"),
  token: secret("Buildkite: an API token with write_builds and read_builds", "token_file"),
});

const Issuer = z.strictObject({
  name: name("Word for this issuer in policy, identities and records. 1 to 16 of a-z, 0-9 and -."),
  type: z
    .enum(issuerTypes)
    .describe("What it is: `gitlab`, `buildkite`, `github`, `aws`, or `oidc` for any other that signs OIDC tokens."),
  url: url(
    "Exact `iss` of its tokens, with port and relative root. Default: that of gitlab.com, buildkite.com or github.com; `oidc` has none, and `aws` none that signs tokens.",
  ).optional(),
  audience: z
    .string()
    .min(1)
    .describe("Audience its tokens must carry, alone. Default: this broker's `issuer`.")
    .optional(),
  ca_file: describedFile(
    "PEM certificates to trust for this issuer and its API, beside the system's. Default: none.",
  ).optional(),
  jwks_file: describedFile(
    "The issuer's public keys as a JWKS, for an instance this broker cannot reach. Default: fetched.",
  ).optional(),
  api: Api.describe(
    "Credential for the CI's API: without it, facts such as `change.merged` are missing. Default: none.",
  ).optional(),
  start: Start.describe(
    "Credentials by which policy's `events` start pipelines here. Default: none, so none can.",
  ).optional(),
  webhooks: z.array(Webhook).describe("Webhooks that may say a job is over. Default: none.").optional(),
  edition: z
    .enum(["community", "enterprise"])
    .describe(
      "GitLab: `community` (or the Free tier) has no protected environments, and policy is checked for that. Default: enterprise.",
    )
    .optional(),
  oidc: Oidc.describe("`oidc`: what its tokens mean.").optional(),
  aws: Aws.describe("`aws`: which principals may come, and how.").optional(),
});

const Listen = z.strictObject({
  address: address("Host and port to listen on. Port 0 takes a free one. Default: 127.0.0.1:8700.").optional(),
  grpc: address(
    "Host and port for gRPC: Envoy's authorization checks, lists of ended sessions, certificates and access logs. Default: not served.",
  ).optional(),
  tls: Tls.describe("Certificate to serve HTTPS with. Default: plain HTTP, on loopback only.").optional(),
  behind_tls_proxy: z
    .boolean()
    .describe("True where a proxy in front serves HTTPS, so that plain HTTP beyond loopback is meant. Default: false.")
    .optional(),
});

const Keys = z.strictObject({
  encryption_key_file: secretFile("32 random bytes in base64, which encrypt the private keys at rest"),
  encryption_key: secret("32 random bytes in base64, which encrypt the private keys at rest", "encryption_key_file"),
  previous_encryption_key_file: secretFile(
    "the key before `encryption_key`, while it is being replaced: at the start, what it encrypts is encrypted anew",
  ),
  previous_encryption_key: secret("the key before `encryption_key`", "previous_encryption_key_file"),
});

const Sessions = z.strictObject({
  max: duration("Longest stay of one job. Default: 6h.", { atMost: "24h" }).optional(),
  token_ttl: duration("Life of an access token. Default: 5m.", { atMost: "15m" }).optional(),
  caps: z
    .strictObject({
      sessions_per_minute: z
        .int()
        .min(1)
        .describe("Most sessions that one project opens in a minute. Default: no cap.")
        .optional(),
      tokens_per_minute: z
        .int()
        .min(1)
        .describe("Most access tokens that one project gets in a minute, renewals included. Default: no cap.")
        .optional(),
    })
    .describe(
      "How fast one project may be issued; past it, requests are refused with when to try again. Default: none.",
    )
    .optional(),
});

const TrustedDomain = z.strictObject({
  trust_domain: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?$/, "must be a trust domain, such as mesh.example")
    .describe("The other trust domain."),
  bundle_url: url("Where its trust bundle is served. Default: only `bundle_file` is used.").optional(),
  profile: z
    .enum(["https_web", "https_spiffe"])
    .describe(
      "How the endpoint is authenticated: `https_web` by public CAs, `https_spiffe` by its own SVID. Default: https_web.",
    )
    .optional(),
  endpoint_spiffe_id: z.string().min(1).describe("SPIFFE ID of an `https_spiffe` endpoint. Default: none.").optional(),
  bundle_file: describedFile("Its trust bundle as a SPIFFE JWKS document, to start from. Default: none.").optional(),
  runners: z
    .array(z.string().min(1))
    .describe("SPIFFE ID prefixes whose JWT-SVIDs prove a runner when a job exchanges its token. Default: none.")
    .optional(),
});

const Spiffe = z.strictObject({
  svid_ttl: duration("Life of an X.509-SVID, never past its session's end. Default: 15m.", { atMost: "1h" }).optional(),
  prefixes: z
    .array(z.string().min(1))
    .describe(
      "Prefixes of SPIFFE IDs that a role may name with `spiffe_id`. Default: none, so that a role has `…/role/<id>`.",
    )
    .optional(),
  ca: z
    .strictObject({
      cert_file: describedFile("PEM certificate of an intermediate CA, then its chain up to the root."),
      key_file: describedFile("PEM private key of the intermediate."),
    })
    .describe("An intermediate of your own CA to sign with. Default: a root and intermediates of its own.")
    .optional(),
  federates_with: z
    .array(TrustedDomain)
    .describe("Other trust domains whose members are known. Default: none.")
    .optional(),
});

const Breakglass = z.strictObject({
  approvers: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, "must be 1 to 63 of a-z, 0-9, . and -")
          .describe("Who this is, in records."),
        public_key: z
          .string()
          .regex(/^[A-Za-z0-9+/]{40,200}={0,2}$/, "must be what `wayleave breakglass key` printed")
          .describe("Their public key, as `wayleave breakglass key` printed it."),
      }),
    )
    .min(2, "must name at least two people")
    .describe("People who may approve; two of them must sign."),
});

const Log = z.strictObject({
  level: z
    .enum(["debug", "info", "warn", "error"])
    .describe("Least severe line that is logged. Default: info.")
    .optional(),
});

/** `wayleave.yaml` as written: the one source of types, JSON Schema and reference page. Cross-field rules: `checks.ts`. */
export const ConfigFile = z.strictObject({
  issuer: url(
    "Public address of this broker: `iss` of its tokens, and the audience that jobs ask for. https, or http on loopback.",
  ),
  trust_domain: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/, "must be 1 to 63 of a-z, 0-9, ., - and _")
    .describe("SPIFFE trust domain: `sub` of every token is `spiffe://<trust domain>/ci/…`."),
  listen: Listen.describe("Where the broker listens.").optional(),
  data: describedFile("Folder for journal, index, keys and the operators' socket. Default: ./data.").optional(),
  policy: z
    .union([
      describedFile("Policy file, or folder of *.yaml files; `wayleave.lock` stands beside them."),
      z.strictObject({ sources: z.array(PolicySource).min(1, "must name at least one source").describe(sourcesDoc) }),
    ])
    .describe("Where policy is: one file or folder, or several sources. Default: ./policy.")
    .optional(),
  keys: Keys.describe("What encrypts the private keys at rest. There is no default."),
  sessions: Sessions.describe("How long things live.").optional(),
  issuers: z.array(Issuer).min(1, "must name at least one issuer").describe("The CIs whose jobs may come."),
  gateways: z.array(Gateway).describe("The gateways that enforce. Default: none.").optional(),
  durable: z
    .enum(["within_50ms", "before_answer"])
    .describe(
      "When a decision's record is on disk: `within_50ms` after the answer, or `before_answer`. Default: within_50ms.",
    )
    .optional(),
  store: Store.describe("Where records and sessions are kept. Default: in `data`, which serves one broker.").optional(),
  spiffe: Spiffe.describe("Certificates and JWT-SVIDs of this trust domain.").optional(),
  people: People.describe(
    "Who may operate this broker from elsewhere, signed in by OpenID Connect. Default: nobody; the socket in `data` stays.",
  ).optional(),
  breakglass: Breakglass.describe(
    "Who may open targets while this broker is away, by two signatures. Default: nobody.",
  ).optional(),
  log: Log.describe("What is logged, as JSON lines on stdout.").optional(),
});

export type ConfigFile = z.infer<typeof ConfigFile>;

/** JSON Schema of `wayleave.yaml`, for editors. It cannot say the cross-field rules; `wayleave config check` does. */
export function configJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(ConfigFile, { io: "input" }) as Record<string, unknown>;
  return { $schema, title: "wayleave.yaml", ...rest };
}
