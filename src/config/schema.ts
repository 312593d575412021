import { z } from "zod";
import { issuerTypes } from "../core/identity.ts";
import { durationPattern, parseDuration } from "./duration.ts";

/** `${NAME}`: the only way a secret's value may stand in the file. */
export const environmentReference = /^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$/;

const describedFile = (text: string) => z.string().min(1).describe(`${text} Relative to this file.`);

const secretFile = (what: string) =>
  describedFile(`File that holds ${what}; a trailing line break is ignored.`).optional();

const secret = (what: string, fileKey: string) =>
  z
    .string()
    .regex(environmentReference, { error: "literal_secret" })
    .describe(`${capitalised(what)}, as a reference to an environment variable: \`\${NAME}\`. Or use \`${fileKey}\`.`)
    .optional();

const duration = (text: string, limit: { readonly atMost: string }) =>
  z
    .string()
    .regex(durationPattern, "must be a duration such as 90s, 5m or 6h")
    .refine(
      (value) => (parseDuration(value) ?? 0) <= (parseDuration(limit.atMost) ?? 0),
      `must be at most ${limit.atMost}`,
    )
    .describe(`${text} Duration (\`500ms\`, \`90s\`, \`5m\`, \`6h\`), at most ${limit.atMost}.`);

const url = (text: string) =>
  z
    .string()
    .refine((value) => urlProblem(value) === undefined, { error: (issue) => urlProblem(String(issue.input)) ?? "" })
    .describe(text);

const name = (text: string) =>
  z
    .string()
    .regex(/^[a-z0-9-]{1,16}$/, "must be 1 to 16 of a-z, 0-9 and -")
    .describe(text);

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

const Issuer = z.strictObject({
  name: name("Word for this issuer in policy, identities and records. 1 to 16 of a-z, 0-9 and -."),
  type: z.enum(issuerTypes).describe("The CI behind it: `gitlab` or `buildkite`."),
  url: url(
    "Exact `iss` of its tokens, with port and relative root. Default: https://gitlab.com or https://agent.buildkite.com.",
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
  webhooks: z.array(Webhook).describe("Webhooks that may say a job is over. Default: none.").optional(),
});

const Gateway = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "must be 1 to 63 of a-z, 0-9 and -")
    .describe("Name of this gateway in `wayleave render` and in records. 1 to 63 of a-z, 0-9 and -."),
  kind: z.enum(["nginx"]).describe("The software: `nginx`."),
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
    .describe("Where it logs requests as JSON, on its machine. Default: /var/log/nginx/wayleave.log.")
    .optional(),
  cache: duration("How long it may reuse an unconditional allow. Default: not at all.", { atMost: "2s" }).optional(),
  njs: z.boolean().describe("Whether its NGINX has the njs module. Default: false.").optional(),
});

const Tls = z.strictObject({
  cert_file: describedFile("PEM certificate chain."),
  key_file: describedFile("PEM private key."),
});

const Listen = z.strictObject({
  address: z
    .string()
    .regex(/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$/, "must be host:port, such as 127.0.0.1:8700")
    .refine((value) => Number(value.slice(value.lastIndexOf(":") + 1)) <= 65_535, "must have a port of at most 65535")
    .describe("Host and port to listen on. Port 0 takes a free one. Default: 127.0.0.1:8700.")
    .optional(),
  tls: Tls.describe("Certificate to serve HTTPS with. Default: plain HTTP, on loopback only.").optional(),
  behind_tls_proxy: z
    .boolean()
    .describe("True where a proxy in front serves HTTPS, so that plain HTTP beyond loopback is meant. Default: false.")
    .optional(),
});

const Keys = z.strictObject({
  encryption_key_file: secretFile("32 random bytes in base64, which encrypt the private keys at rest"),
  encryption_key: secret("32 random bytes in base64, which encrypt the private keys at rest", "encryption_key_file"),
});

const Sessions = z.strictObject({
  max: duration("Longest stay of one job. Default: 6h.", { atMost: "24h" }).optional(),
  token_ttl: duration("Life of an access token. Default: 5m.", { atMost: "15m" }).optional(),
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
  policy: describedFile(
    "Policy file, or folder of *.yaml files; `wayleave.lock` stands beside them. Default: ./policy.",
  ).optional(),
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
  log: Log.describe("What is logged, as JSON lines on stdout.").optional(),
});

export type ConfigFile = z.infer<typeof ConfigFile>;

/** JSON Schema of `wayleave.yaml`, for editors. It cannot say the cross-field rules; `wayleave config check` does. */
export function configJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(ConfigFile, { io: "input" }) as Record<string, unknown>;
  return { $schema, title: "wayleave.yaml", ...rest };
}

/** Why a URL cannot be one of ours: absolute http(s), http only on loopback, no credentials, query, fragment or final slash. */
function urlProblem(text: string): string | undefined {
  if (!URL.canParse(text)) return "must be an absolute URL, such as https://wayleave.example";
  const parsed = new URL(text);
  if (parsed.protocol !== "https:" && !(parsed.protocol === "http:" && isLoopback(parsed.hostname))) {
    return "must be https (http only on loopback)";
  }
  if (parsed.username !== "" || parsed.password !== "") return "must not hold a user name or password";
  if (/[?#]/.test(text)) return "must have no query and no fragment";
  if (text.endsWith("/")) return "must not end with a slash, because it is compared character by character";
  return undefined;
}

/** True for names and addresses that never leave this machine. */
export function isLoopback(host: string): boolean {
  return (
    host === "localhost" || host.endsWith(".localhost") || /^127(\.\d{1,3}){3}$/.test(host) || /^\[?::1\]?$/.test(host)
  );
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
