import { Evaluation } from "../../src/api/authzen.ts";
import { EmitBody } from "../../src/api/events.ts";
import { LogQuery } from "../../src/api/gateway-log.ts";
import { NatsBody } from "../../src/api/nats.ts";
import { AdmissionsBody, KickBody, PassesBody, RecordsBody, TotalsBody } from "../../src/api/nats-gateway.ts";
import { SignInBody } from "../../src/api/people.ts";
import { DecisionsQuery, LeaseBody } from "../../src/api/session.ts";
import { GatewayBody, JwtBody, X509Body } from "../../src/api/svid.ts";
import { operatorRoutes } from "./api-operator-routes.ts";
import type { ApiRoute } from "./api-route.ts";

/** Who asks, and how they prove it. */
export const callers = {
  everybody: "Nobody needs to prove anything.",
  job: "`Authorization: Bearer <refresh token>`; with a DPoP proof (RFC 9449, `ath` of it) where the session is bound to a key.",
  gateway: "`X-Wayleave-Gateway: <name>` and `X-Wayleave-Gateway-Secret`, or mutual TLS where it is configured.",
  hook: "The token or signature of the CI's webhook.",
  signIn: "Below `/operator`, where `people:` is configured: nobody is known yet.",
  operator:
    "On the Unix socket `admin.sock` in the broker's data folder, for whoever can open it. And below `/operator` for people who " +
    "signed in and have the role: `Authorization: DPoP <token>`, and a proof by the sign-in's key.",
} as const;
export type Caller = keyof typeof callers;

/** Every route of the broker's own HTTP API. What gateways ask at `/authz/` has the form of each gateway's own protocol. */
export const apiRoutes: Readonly<Record<Caller, readonly ApiRoute[]>> = {
  everybody: [
    {
      route: "POST /oauth2/token",
      does: "Opens a session for a CI token, or makes an access token for one that is open (RFC 8693, RFC 6749 §6).",
      takes: {
        form: {
          grant_type: "`urn:ietf:params:oauth:grant-type:token-exchange` or `refresh_token`",
          subject_token: "exchange: the CI's identity token",
          subject_token_type: "exchange: `urn:ietf:params:oauth:token-type:id_token` or `…:jwt`",
          refresh_token: "refresh: the token of the session",
          audience: "narrows to this target; repeatable",
          resource: "narrows to the target that serves this URI; repeatable",
          scope: "narrows to these roles, separated by spaces",
          client_assertion_type:
            "`urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`, where the runner proves itself",
          client_assertion: "the runner's JWT-SVID",
        },
      },
      gives: { json: "TokenResponse" },
    },
    {
      route: "POST /oauth2/revoke",
      does: "Ends what a token stands for (RFC 7009). A token that nobody knows is no error.",
      takes: { form: { token: "an access token or a refresh token" } },
      gives: { media: "" },
    },
    {
      route: "GET /.well-known/oauth-authorization-server",
      does: "What this server is and offers (RFC 8414).",
      gives: { media: "application/json" },
    },
    { route: "GET /oauth2/jwks", does: "Keys of access tokens.", gives: { media: "application/jwk-set+json" } },
    { route: "GET /assertion/jwks", does: "Keys of assertions.", gives: { media: "application/jwk-set+json" } },
    { route: "GET /svid/jwks", does: "Keys of JWT-SVIDs.", gives: { media: "application/jwk-set+json" } },
    { route: "GET /spiffe/bundle", does: "The trust domain's own bundle.", gives: { media: "application/json" } },
    {
      route: "GET /spiffe/bundles",
      does: "Its own and each federated bundle, by trust domain.",
      gives: { json: "BundlesResponse" },
    },
    {
      route: "GET /client.sh",
      does: "The client for jobs without Node: POSIX sh and curl.",
      gives: { media: "text/x-shellscript" },
    },
    {
      route: "GET /client.sh.sha256",
      does: "Its checksum, as `sha256sum -c` reads it.",
      gives: { media: "text/plain" },
    },
    { route: "GET /healthz", does: "Whether the process lives.", gives: { media: "application/json" } },
    {
      route: "GET /readyz",
      does: "Whether it can decide and record: 503, and why, where it cannot.",
      gives: { media: "application/json" },
    },
  ],
  job: [
    {
      route: "POST /v1/session/lease",
      does: "A heartbeat of a command. The proof by the session's key is enough, with `Wayleave-Session: <id>`.",
      takes: { schema: LeaseBody },
      gives: { json: "LeaseResponse" },
    },
    {
      route: "POST /v1/session/release",
      does: "The command exited; the session lives on.",
      takes: { schema: LeaseBody },
    },
    { route: "POST /v1/session/end", does: "Ends the session, at once and for good." },
    { route: "GET /v1/session", does: "The caller's session.", gives: { json: "SessionSummary" } },
    {
      route: "GET /v1/session/decisions",
      does: "Refusals of the caller's own session, as they come.",
      query: [DecisionsQuery, { after: "record id: those younger than it", wait: "seconds to wait for the first" }],
      gives: { json: "DecisionsResponse" },
    },
    {
      route: "GET /v1/session/decisions/:id",
      does: "Why: one refusal of the caller's own session.",
      path: { id: "record id" },
      gives: { json: "ExplainResponse" },
    },
    {
      route: "POST /v1/session/nats",
      does: "What the job connects to NATS with.",
      takes: { schema: NatsBody },
      gives: { json: "NatsResponse" },
    },
    {
      route: "POST /v1/events",
      does: "Publishes a CloudEvent as the job.",
      takes: { schema: EmitBody },
      gives: { json: "EmitResponse" },
    },
    {
      route: "GET /v1/svid/identities",
      does: "SPIFFE IDs that the job's roles give.",
      gives: { json: "SvidIdentitiesResponse" },
    },
    {
      route: "POST /v1/svid/x509",
      does: "An X.509-SVID for a key that stays in the job.",
      takes: { schema: X509Body },
      gives: { json: "X509SvidResponse" },
    },
    { route: "POST /v1/svid/jwt", does: "A JWT-SVID.", takes: { schema: JwtBody }, gives: { json: "JwtSvidResponse" } },
    {
      route: "GET /v1/svid/jwt-bundles",
      does: "Keys to verify JWT-SVIDs with, by trust domain.",
      gives: { json: "BundlesResponse" },
    },
  ],
  gateway: [
    {
      route: "POST /oauth2/introspect",
      does: "What an access token is worth now (RFC 7662), about its own targets. HTTP Basic with name and secret will do, too.",
      takes: { form: { token: "an access token" } },
      gives: { json: "IntrospectionResponse" },
    },
    {
      route: "POST /v1/gateway/svid",
      does: "An X.509-SVID for the gateway itself.",
      takes: { schema: GatewayBody },
      gives: { json: "GatewaySvidResponse" },
    },
    {
      route: "POST /access/v1/evaluation",
      does: "A decision by AuthZEN's Authorization API, about a target that the gateway fronts.",
      takes: { schema: Evaluation },
      gives: { media: "application/json" },
    },
    {
      route: "POST /v1/gateway/log",
      does: "Lines of the gateway's access log, as `wayleave gateway follow` sends them.",
      query: [LogQuery, { file: "which file, by a name that survives rotation", offset: "of the first byte" }],
      takes: { media: "application/octet-stream" },
      gives: { media: "application/json" },
    },
    {
      route: "POST /v1/gateway/breakglass",
      does: "Uses of break-glass, as `wayleave breakglass serve` wrote them down while the broker was away.",
      takes: { media: "application/json" },
      gives: { media: "application/json" },
    },
    {
      route: "POST /v3/discovery::extension_configs",
      does: "Envoy's extension config discovery over REST: the list of ended sessions.",
      takes: { media: "application/json" },
      gives: { media: "application/json" },
    },
    {
      route: "GET /v1/gateway/nats/settings",
      does: "What the inventory says of a NATS gateway.",
      gives: { json: "NatsGatewaySettings" },
    },
    {
      route: "POST /v1/gateway/nats/admissions",
      does: "Admits a client.",
      takes: { schema: AdmissionsBody },
      gives: { media: "application/json" },
    },
    {
      route: "POST /v1/gateway/nats/passes",
      does: "A single-use ticket for one connection to a server.",
      takes: { schema: PassesBody },
      gives: { media: "application/json" },
    },
    {
      route: "POST /v1/gateway/nats/records",
      does: "Takes records; answers once they are durable.",
      takes: { schema: RecordsBody },
      gives: { media: "application/json" },
    },
    {
      route: "POST /v1/gateway/nats/kick",
      does: "Has a server close a connection.",
      takes: { schema: KickBody },
      gives: { media: "application/json" },
    },
    {
      route: "POST /v1/gateway/nats/totals",
      does: "What a server counted for a connection.",
      takes: { schema: TotalsBody },
      gives: { media: "application/json" },
    },
    {
      route: "GET /v1/gateway/nats/feed",
      does: "Sessions, rights and ends: a snapshot, then what changes.",
      gives: { media: "application/x-ndjson" },
    },
  ],
  hook: [
    {
      route: "POST /hooks/:issuer/:name",
      does: "A webhook of the CI. It may end sessions and have facts read again, nothing else.",
      path: { issuer: "name of the issuer", name: "name of the webhook" },
      takes: { media: "application/json" },
      gives: { media: "application/json" },
    },
  ],
  signIn: [
    { route: "GET /v1/sign-in", does: "Where people sign in.", gives: { json: "SignInOptions" } },
    {
      route: "POST /v1/sign-in",
      does: "Opens a sign-in, bound to the key whose DPoP proof names the token.",
      takes: { schema: SignInBody },
      gives: { json: "SignInResponse" },
    },
  ],
  operator: operatorRoutes,
};
