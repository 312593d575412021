import { z } from "zod";
import type { StoreConfig } from "./config.ts";
import { parseDuration } from "./duration.ts";
import { describedFile, duration, isLoopback, secret, secretFile } from "./fields.ts";
import type { Reader } from "./reader.ts";

const databaseUrl = z
  .string()
  .refine((value) => databaseUrlProblem(value) === undefined, {
    error: (issue) => databaseUrlProblem(String(issue.input)) ?? "",
  })
  .describe(
    "`postgres://<role>@<host>:<port>/<database>`, or `postgres://<role>@/<database>?host=<folder>` for a Unix socket. Without a password.",
  );

export const Store = z.strictObject({
  postgres: z
    .strictObject({
      url: databaseUrl,
      password_file: secretFile("the role's password"),
      password: secret("the role's password", "password_file"),
      tls: z
        .strictObject({
          ca_file: describedFile("PEM certificates to trust for the database. Default: the system's.").optional(),
        })
        .describe(
          "Speak TLS, and verify the server's certificate and name. Default: so beyond loopback, plain text on loopback and a Unix socket.",
        )
        .optional(),
      stale_after: duration("Without word of the database for this long nothing is allowed any more. Default: 5s.", {
        atMost: "60s",
      }).optional(),
    })
    .describe("A PostgreSQL database, 14 or newer, instead of the journal and SQLite index in `data`."),
});

/** Why a URL cannot name the database. */
function databaseUrlProblem(text: string): string | undefined {
  const parsed = parseDatabaseUrl(text);
  if (parsed === undefined) return "must look like postgres://wayleave@db.internal:5432/wayleave";
  if (parsed.password) return "must not hold a password: use `password_file`";
  if (parsed.more) return "may have no parameter but `host`, and no fragment";
  if (parsed.user === "" || parsed.database === "" || parsed.host === "")
    return "must name a role, a host and a database: postgres://wayleave@db.internal:5432/wayleave";
  return undefined;
}

function parseDatabaseUrl(text: string) {
  const match = /^postgres(?:ql)?:\/\/(?:([^:@/?#]*)(:[^@/?#]*)?@)?([^@/?#]*)\/([^/?#]*)(?:\?host=([^&#]*))?(.*)$/.exec(
    text,
  );
  if (match === null) return undefined;
  const [, user = "", password, address = "", database = "", folder, more = ""] = match;
  const authority = /^(\[[0-9A-Fa-f:.]+\]|[^:]*)(?::([0-9]{1,5}))?$/.exec(address);
  if (authority === null) return undefined;
  const decoded = [user, database, folder ?? ""].map(decode);
  if (decoded.includes(undefined)) return undefined;
  return {
    user: decoded[0] ?? "",
    password: password !== undefined,
    host: folder === undefined ? (authority[1] ?? "").replace(/^\[(.*)\]$/, "$1") : (decoded[2] ?? ""),
    port: Number(authority[2] ?? 5432),
    database: decoded[1] ?? "",
    more: more !== "" || (folder !== undefined && !folder.startsWith("/") && !folder.startsWith("%2F")),
  };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // not a URL
  }
}

/** For a store that the schema has accepted. */
export function resolveStore({ postgres }: z.infer<typeof Store>, read: Reader): StoreConfig {
  const at = ["store", "postgres"];
  const { user = "", host = "", port = 0, database = "" } = parseDatabaseUrl(postgres.url) ?? {};
  const password = read.secret(postgres, "password", at);
  const ca =
    postgres.tls?.ca_file === undefined ? undefined : read.file(postgres.tls.ca_file, [...at, "tls", "ca_file"]);
  const near = host.startsWith("/") || isLoopback(host);
  return {
    postgres: {
      address: {
        ...{ user, host, port, database },
        ...(password === undefined ? {} : { password }),
        ...(near && postgres.tls === undefined ? {} : { tls: ca === undefined ? {} : { ca } }),
      },
      staleAfterMs: parseDuration(postgres.stale_after ?? "5s") ?? 0,
    },
  };
}
