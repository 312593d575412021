import { WayleaveError } from "../../core/errors.ts";
import type { AdmissionRequest, Presented } from "./ports.ts";

/** What of a client's CONNECT the gateway goes by. Nothing of it is forwarded but what is said here. */
export interface ClientConnect {
  readonly presented: Presented;
  readonly client: AdmissionRequest["client"];
  /** Wants `+OK` after each operation. */
  readonly verbose: boolean;
  /** Wants its own messages back where it subscribes to them. */
  readonly echo: boolean;
  /** Reads HMSG. Where it does not, messages come to it without their headers. */
  readonly headers: boolean;
  /** Wants to be told at once where nobody answers. */
  readonly noResponders: boolean;
}

/**
 * What a CONNECT says. Fields the gateway does not know are ignored. Throws `credential_invalid` where a known field is of
 * another type, or there is no credential, or two of them.
 *
 * @param nonce The nonce of our INFO: what a credentials file signed.
 */
export function parseConnect(json: string, nonce: string): ClientConnect {
  const fields = fieldsOf(json);
  const flag = (name: string, otherwise: boolean) => read(fields, name, "boolean") ?? otherwise;
  const headers = flag("headers", false);
  read(fields, "protocol", "number");
  flag("pedantic", false);
  return {
    presented: presentedOf(fields, nonce),
    client: {
      ...label("name", read(fields, "name", "string")),
      ...label("lang", read(fields, "lang", "string")),
      ...label("version", read(fields, "version", "string")),
    },
    verbose: flag("verbose", false),
    echo: flag("echo", true),
    headers,
    // Without headers there is no way to say it.
    noResponders: headers && flag("no_responders", false),
  };
}

type Fields = ReadonlyMap<string, unknown>;

function fieldsOf(json: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw refused("CONNECT is no JSON object"); // the parser's own words would repeat the token
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw refused("CONNECT is no JSON object");
  return new Map(Object.entries(value));
}

interface Types {
  readonly string: string;
  readonly boolean: boolean;
  readonly number: number;
}

/** Null stands for nothing, as some clients write it. */
function read<K extends keyof Types>(fields: Fields, name: string, type: K): Types[K] | undefined {
  const value = fields.get(name);
  if (value === undefined || value === null) return undefined;
  if (typeof value !== type) throw refused(`the field ${name} of CONNECT must be a ${type}`);
  return value as Types[K];
}

function presentedOf(fields: Fields, nonce: string): Presented {
  const given = (name: string) => read(fields, name, "string") || undefined;
  const user = given("user");
  const [token, pass, jwt, signature] = [given("auth_token"), given("pass"), given("jwt"), given("sig")];
  const secrets = [token, pass, jwt].filter((secret) => secret !== undefined);
  const [secret] = secrets;
  if (secret === undefined) throw refused(howToGetIn);
  if (secrets.length > 1) throw refused("CONNECT holds two credentials: send auth_token, pass or a credentials file");
  if (jwt !== undefined && signature === undefined) {
    throw refused("the credentials file did not sign the server's nonce: use the whole file, with its seed");
  }
  return {
    secret,
    ...(user === undefined ? {} : { user }),
    ...(jwt === undefined || signature === undefined ? {} : { proof: { nonce, signature } }),
  };
}

const howToGetIn =
  "no credential was sent: give the client the password that wayleave nats env prints, as its token or password";

/** A label is for people: one line, not too long. */
function label(name: string, value: string | undefined): Record<string, string> {
  if (value === undefined || value === "") return {};
  return { [name]: value.slice(0, 128).replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ") };
}

function refused(detail: string): WayleaveError {
  return new WayleaveError("credential_invalid", detail);
}
