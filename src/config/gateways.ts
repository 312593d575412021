import { z } from "zod";
import { address, addressForm, describedFile, duration, natsUrl, secret, secretFile, Tls, url } from "./fields.ts";
import { proxyShape } from "./proxy-gateway.ts";

/** What every gateway of the inventory says. */
const inventory = {
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "must be 1 to 63 of a-z, 0-9 and -")
    .describe("Name of this gateway in `wayleave render` and in records. 1 to 63 of a-z, 0-9 and -."),
  environment: z.string().min(1).describe("Which environment it serves; for people. Default: none.").optional(),
  targets: z
    .array(z.string().min(1))
    .min(1, "must name at least one target")
    .describe("Targets it fronts; it may ask about no other."),
  secret_file: secretFile("the secret by which the gateway proves itself"),
  secret: secret("the secret by which the gateway proves itself", "secret_file"),
  broker_url: url("Where this gateway reaches the broker. Default: `http://` and `listen.address`.").optional(),
  access_log: z
    .string()
    .regex(/^\/[^\s"'$;{}\\]+$/, "must be an absolute path without spaces")
    .describe("Where it logs requests as JSON, on its machine. Default: /var/log/<software>/wayleave.log.")
    .optional(),
  on_outage: z
    .union([
      z.literal("deny"),
      z.strictObject({ keep: duration("Longest it may keep what its targets say.", { atMost: "5m" }) }),
    ])
    .describe(
      "While the broker is away: `deny`, or `keep:` the longest it lets go on what was allowed, where `on_outage` of a target says keep. Default: what the targets say.",
    )
    .optional(),
};

const Nginx = z.strictObject({
  kind: z.literal("nginx").describe("The software: `nginx`, `envoy`, `istio`, `linkerd`, `nats` or `proxy`."),
  ...inventory,
  cache: duration("How long it may reuse an unconditional allow. Default: not at all.", { atMost: "2s" }).optional(),
  njs: z.boolean().describe("Whether its NGINX has the njs module. Default: false.").optional(),
  breakglass: address(
    "Where `wayleave breakglass serve` listens beside it, which it asks while the broker gives no answer. Default: nobody is asked.",
  ).optional(),
});

const mode = z
  .enum(["native", "call_out"])
  .describe(
    "`native`: compiled into its own filters wherever they can say the same; `call_out`: asks for every request. Default: native.",
  )
  .optional();

const upstream = z
  .string()
  .refine(
    (text) => addressForm.test(text.replace(/^h2:\/\//, "")),
    "must be host:port or h2://host:port, such as 127.0.0.1:8080",
  );

const Envoy = z.strictObject({
  kind: z.literal("envoy").describe("The software: `nginx`, `envoy`, `istio`, `linkerd`, `nats` or `proxy`."),
  ...inventory,
  mode,
  protocol: z.enum(["grpc", "http"]).describe("How it asks: `grpc` needs `listen.grpc`. Default: grpc.").optional(),
  broker_grpc: address("Where it reaches the broker's gRPC listener. Default: `listen.grpc`.").optional(),
  broker_ca_file: z
    .string()
    .min(1)
    .describe(
      "PEM certificates that sign a TLS broker's, on the gateway's machine. Default: /etc/ssl/certs/ca-certificates.crt.",
    )
    .optional(),
  revocation: z
    .enum(["grpc", "rest", "file"])
    .describe(
      "How a native one learns of ended sessions: `grpc` pushes, `rest` polls each second, `file` is written by `wayleave gateway follow`. Default: grpc.",
    )
    .optional(),
  revocation_ttl: duration(
    "How long a native one goes on without hearing from the broker; then it refuses everything. Default: 15s.",
    { atMost: "5m" },
  ).optional(),
  key_cache: duration("How long it may keep the broker's public keys. Default: 1m.", { atMost: "1h" }).optional(),
  behind: z
    .array(z.string().min(1))
    .describe(
      "Gateways in front of it. It then takes their mutual TLS and the assertion they pass on, not access tokens. Default: none.",
    )
    .optional(),
  listen: address("Where the rendered configuration listens. Default: 127.0.0.1:10000.").optional(),
  upstreams: z
    .record(z.string(), upstream)
    .describe(
      "Address of each target: host:port, or h2://host:port for one that speaks HTTP/2, as gRPC does. Needed for a complete configuration, not for fragments.",
    )
    .optional(),
  tls: z
    .strictObject({
      cert_file: z.string().min(1).describe("PEM certificate chain, on the gateway's machine."),
      key_file: z.string().min(1).describe("PEM private key, on the gateway's machine."),
    })
    .describe("Certificate it serves HTTPS with. Default: plain HTTP; behind another gateway, its SVID.")
    .optional(),
});

const workloads = z
  .array(
    z.strictObject({
      target: z.string().min(1).describe("One of `targets`."),
      labels: z.record(z.string(), z.string()).describe("Pod labels that select the workload."),
      port: z.int().min(1).max(65_535).describe("Port it serves."),
      service: z.string().min(1).describe("Kubernetes Service in front of it. Default: the target's name.").optional(),
    }),
  )
  .min(1, "must name at least one workload")
  .describe("The workload behind each target.");

const mesh = {
  ...inventory,
  namespace: z
    .string()
    .regex(/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/, "must be a Kubernetes namespace")
    .describe("Kubernetes namespace of the workloads."),
  workloads,
  mesh_trust_domain: z.string().min(1).describe("The mesh's own trust domain. Default: cluster.local.").optional(),
};

const Istio = z.strictObject({
  kind: z.literal("istio").describe("The software: `nginx`, `envoy`, `istio`, `linkerd`, `nats` or `proxy`."),
  ...mesh,
  mode,
});
const Linkerd = z.strictObject({
  kind: z.literal("linkerd").describe("The software: `nginx`, `envoy`, `istio`, `linkerd`, `nats` or `proxy`."),
  ...mesh,
});

const Nats = z.strictObject({
  kind: z.literal("nats").describe("The software: `nginx`, `envoy`, `istio`, `linkerd`, `nats` or `proxy`."),
  ...inventory,
  listen: address("Where jobs connect. Port 0 takes a free one. Default: 127.0.0.1:4222.").optional(),
  tls: Tls.describe("Certificate to serve TLS with. Default: plain, on loopback only.").optional(),
  public_url: natsUrl(
    "What jobs are told to connect to, nats://host:port or tls://host:port. Default: `listen`.",
  ).optional(),
  servers: z
    .array(natsUrl("nats://host:port or tls://host:port."))
    .min(1, "must name at least one server")
    .describe("The nats-servers behind it, 2.12.7 or newer."),
  server_ca_file: describedFile(
    "PEM certificates that sign the servers', beside the system's. Default: none.",
  ).optional(),
  authentication: z
    .enum(["operator", "config"])
    .describe(
      "How the servers know accounts: `operator` by signed JWTs that can be added while they run, `config` by their configuration file. Default: operator.",
    )
    .optional(),
  direct: z
    .boolean()
    .describe(
      "True lets jobs connect to the servers themselves with the callout alone: authentication WITHOUT message audit. Default: false.",
    )
    .optional(),
  standalone: z
    .boolean()
    .describe("True where `wayleave nats-gateway` runs it as a process of its own. Default: false, inside `serve`.")
    .optional(),
});

const WayleaveProxy = z.strictObject({
  kind: z.literal("proxy").describe("The software: `nginx`, `envoy`, `istio`, `linkerd`, `nats` or `proxy`."),
  ...inventory,
  ...proxyShape,
});

/** One gateway of the inventory. */
export const Gateway = z.discriminatedUnion("kind", [Nginx, Envoy, Istio, Linkerd, Nats, WayleaveProxy]);
