import type { Admission } from "../gateway/nats/ports.ts";

/** A connection that a nats-server has, or is about to have, for a job. */
export interface OpenConnection {
  readonly admission: Admission;
  /** `direct`: the job's own, past the gateway. */
  readonly mode: "gateway" | "direct";
  readonly serverId: string;
  readonly cid: number;
}

/** What the servers have open for jobs, of all gateways of this broker: any of them may be asked about any of these. */
export interface OpenConnections {
  add(open: OpenConnection): void;
  /** By `nc_…`. */
  find(connection: string): OpenConnection | undefined;
  /** By the server's own words for it. */
  at(serverId: string, cid: number): OpenConnection | undefined;
  ofSession(session: string): readonly OpenConnection[];
  forget(connection: string): void;
  /** Forgets those that nobody knows any more, and whose end nobody told. */
  prune(known: (connection: string) => boolean): void;
}

export function createOpenConnections(): OpenConnections {
  const known = new Map<string, OpenConnection>();
  const places = new Map<string, string>();
  const place = (serverId: string, cid: number) => `${serverId} ${cid}`;
  const forget = (connection: string) => {
    const open = known.get(connection);
    if (open === undefined) return;
    known.delete(connection);
    places.delete(place(open.serverId, open.cid));
  };
  return {
    add(open) {
      forget(open.admission.connection); // a gateway that tries again has another connection to the server
      known.set(open.admission.connection, open);
      places.set(place(open.serverId, open.cid), open.admission.connection);
    },
    find: (connection) => known.get(connection),
    at: (serverId, cid) => known.get(places.get(place(serverId, cid)) ?? ""),
    ofSession: (session) => [...known.values()].filter(({ admission }) => admission.session === session),
    forget,
    prune(isKnown) {
      for (const connection of known.keys()) if (!isKnown(connection)) forget(connection);
    },
  };
}
