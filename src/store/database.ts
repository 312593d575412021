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
export const patienceMs = 5_000;

/** @param name What the connection is called in `pg_stat_activity`. */
export function clientConfig({ tls, ...where }: DatabaseAddress, name: string): ClientConfig {
  return {
    ...where,
    application_name: name,
    connectionTimeoutMillis: patienceMs,
    query_timeout: patienceMs,
    keepAlive: true,
    ssl: tls === undefined ? false : { rejectUnauthorized: true, ...(tls.ca === undefined ? {} : { ca: tls.ca }) },
    // A client that vanished must not hold the lock that everybody waits for.
    options: `-c statement_timeout=${patienceMs} -c lock_timeout=${patienceMs} -c idle_in_transaction_session_timeout=${patienceMs}`,
    types: { getTypeParser: (oid: number) => (oid === types.builtins.INT8 ? Number : types.getTypeParser(oid)) },
  };
}
