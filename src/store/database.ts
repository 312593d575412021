import { type ClientConfig, types } from "pg";

/** Where the PostgreSQL database is, and how it is spoken to. */
export interface DatabaseAddress {
  /** A name, an address, or the folder of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password?: string;
  /** The server's certificate is verified, and its name, against these PEM certificates or, without any, the system's. Absent: plain text. */
  readonly tls?: { readonly ca?: string };
}

/** Nothing of the database takes this long; a connection that does is given up; ms. */
const patienceMs = 5_000;

/** The locks that everybody waits for go with a client that stalls, or vanishes with its machine; ms and s as PostgreSQL has them. */
const settings = {
  statement_timeout: patienceMs,
  lock_timeout: patienceMs,
  idle_in_transaction_session_timeout: patienceMs,
  tcp_keepalives_idle: 3,
  tcp_keepalives_interval: 1,
  tcp_keepalives_count: 3,
  // What is answered survives a power cut, whatever else the database or role is set to.
  synchronous_commit: "on",
};

/** @param name What the connection is called in `pg_stat_activity`. */
export function clientConfig({ tls, ...where }: DatabaseAddress, name: string): ClientConfig {
  return {
    ...where,
    application_name: name,
    connectionTimeoutMillis: patienceMs,
    query_timeout: patienceMs,
    keepAlive: true,
    pipeline: true,
    ssl: tls === undefined ? false : { rejectUnauthorized: true, ...(tls.ca === undefined ? {} : { ca: tls.ca }) },
    options: Object.entries(settings)
      .map(([setting, value]) => `-c ${setting}=${value}`)
      .join(" "),
    types: { getTypeParser: (oid: number) => (oid === types.builtins.INT8 ? Number : types.getTypeParser(oid)) },
  };
}
