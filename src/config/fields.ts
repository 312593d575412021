import { z } from "zod";
import { durationPattern, parseDuration } from "./duration.ts";

/** `${NAME}`: the only way a secret's value may stand in the file. */
export const environmentReference = /^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$/;

export const describedFile = (text: string) => z.string().min(1).describe(`${text} Relative to this file.`);

export const secretFile = (what: string) =>
  describedFile(`File that holds ${what}; a trailing line break is ignored.`).optional();

export const secret = (what: string, fileKey: string) =>
  z
    .string()
    .regex(environmentReference, { error: "literal_secret" })
    .describe(`${capitalised(what)}, as a reference to an environment variable: \`\${NAME}\`. Or use \`${fileKey}\`.`)
    .optional();

export const duration = (text: string, limit: { readonly atMost: string }) =>
  z
    .string()
    .regex(durationPattern, "must be a duration such as 90s, 5m or 6h")
    .refine(
      (value) => (parseDuration(value) ?? 0) <= (parseDuration(limit.atMost) ?? 0),
      `must be at most ${limit.atMost}`,
    )
    .describe(`${text} Duration (\`500ms\`, \`90s\`, \`5m\`, \`6h\`), at most ${limit.atMost}.`);

export const url = (text: string) =>
  z
    .string()
    .refine((value) => urlProblem(value) === undefined, { error: (issue) => urlProblem(String(issue.input)) ?? "" })
    .describe(text);

export const name = (text: string) =>
  z
    .string()
    .regex(/^[a-z0-9-]{1,16}$/, "must be 1 to 16 of a-z, 0-9 and -")
    .describe(text);

export const addressForm = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$/;

/** `host:port`. */
export const address = (text: string) =>
  z
    .string()
    .regex(addressForm, "must be host:port, such as 127.0.0.1:8700")
    .refine((value) => Number(value.slice(value.lastIndexOf(":") + 1)) <= 65_535, "must have a port of at most 65535")
    .describe(text);

/** `nats://host:port` or `tls://host:port`. */
export const natsUrl = (text: string) =>
  z
    .string()
    .refine(
      (value) => /^(nats|tls):\/\//.test(value) && addressForm.test(value.replace(/^(nats|tls):\/\//, "")),
      "must be nats://host:port or tls://host:port",
    )
    .describe(text);

export const Tls = z.strictObject({
  cert_file: describedFile("PEM certificate chain."),
  key_file: describedFile("PEM private key."),
});

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
