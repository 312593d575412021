import type { ServerControl } from "./ports.ts";
import {
  type RefusedClient,
  readConnect,
  readDisconnect,
  readRefusal,
  type ServerClient,
  serverIdForm,
} from "./system-advisory.ts";
import { gather, type SystemConnection } from "./system-request.ts";
import { askServers, lookUpAccount, type NatsServer, pushAccount, readSender } from "./system-servers.ts";
import { createTotalsMemory } from "./system-totals.ts";

export interface SystemAccountOptions {
  /** A connection as a user of the system account. Its owner closes it. */
  readonly connection: SystemConnection;
  /** Monotonic ms. */
  now(): number;
  /** Accounts without jobs, where every client is the installation's own: keys in operator mode, names in config mode. */
  readonly ownAccounts: readonly string[];
  /** A client came into a job's account that nobody announced: past the gateway, or by keys that are not Wayleave's. */
  onStranger(client: ServerClient): void;
  /** A server refused a client: one that came past the gateway, a ticket that was not live. A flood of them is possible. */
  onRefused(client: RefusedClient): void;
  /** Something the servers sent could not be handled. */
  onFault(error: unknown): void;
}

/** What Wayleave does at the servers as their system account. */
export interface SystemAccount extends ServerControl {
  /**
   * A gateway is about to authenticate this connection. Only what was announced is no stranger, and only its totals are kept
   * until they are asked for.
   */
  announce(serverId: string, cid: number): void;
  /** Servers that answer now; asks each time. */
  servers(): Promise<readonly NatsServer[]>;
  /** Gives an account's JWT to every server. Rejects `nats_unavailable` where one that is there did not take it. */
  push(jwt: string): Promise<void>;
  /** What each server has for the account: JWTs, empty text where it has none. */
  lookUp(key: string): Promise<readonly string[]>;
  /** Ends the subscriptions; who waits for totals gets none. */
  close(): void;
}

/**
 * The system account over a connection. Of a connection that closed, `totals` are the server's own counts, as measured with
 * 2.15.1:
 *
 * - `received`: every PUB and HPUB it read, those that it refused for lack of a permission included.
 * - `sent`: every MSG and HMSG it queued for the client, whether or not the client still read it; but not the `503` by which
 *   it says itself that nobody serves a request.
 * - bytes: headers and payload, without protocol lines and line ends.
 *
 * What a server says while the connection is away is lost: then there are no totals.
 */
export function createSystemAccount(options: SystemAccountOptions): SystemAccount {
  const { connection } = options;
  const own = new Set(options.ownAccounts);
  const totals = createTotalsMemory(options.now);
  let known: readonly NatsServer[] = [];

  const servers = async () => {
    known = await askServers(connection);
    return known;
  };
  /** None is no answer to keep. */
  const knownServers = async () => (known.length > 0 ? known : servers());
  const listen = (subject: string, take: (text: string) => void) =>
    connection.subscribe(subject, {
      // A callback that throws would end the connection's reader, and with it everything else on it.
      callback: (error, message) => {
        try {
          if (error === null) take(message.string());
          else options.onFault(error);
        } catch (fault) {
          options.onFault(fault);
        }
      },
    });

  const subscriptions = [
    listen("$SYS.ACCOUNT.*.CONNECT", (text) => {
      const client = readConnect(text);
      if (client === undefined || own.has(client.account) || totals.expects(client.serverId, client.cid)) return;
      options.onStranger(client);
    }),
    listen("$SYS.ACCOUNT.*.DISCONNECT", (text) => {
      const closed = readDisconnect(text);
      if (closed !== undefined) totals.told(closed.serverId, closed.cid, closed.totals);
    }),
    listen("$SYS.SERVER.*.CLIENT.AUTH.ERR", (text) => {
      const client = readRefusal(text);
      if (client !== undefined) options.onRefused(client);
    }),
    // Whoever comes or goes, the next push asks again who is there.
    listen("$SYS.SERVER.*.SHUTDOWN", () => {
      known = [];
    }),
    listen("$SYS.SERVER.*.STATSZ", (text) => {
      const { id } = readSender(text) ?? {};
      if (!known.some((server) => server.id === id)) known = [];
    }),
  ];

  return {
    announce: totals.expect,
    servers,
    push: async (jwt) => pushAccount(connection, jwt, await knownServers(), servers),
    lookUp: async (key) => lookUpAccount(connection, key, await knownServers()),
    async kick(serverId, cid) {
      if (!serverIdForm.test(serverId) || !Number.isSafeInteger(cid)) return false;
      const body = JSON.stringify({ cid });
      const answers = await gather(connection, `$SYS.REQ.SERVER.${serverId}.KICK`, body, {
        timeoutMs: kickMs,
        enough: () => true,
      }).catch(() => []);
      return answers.length > 0;
    },
    totals: totals.take,
    close() {
      for (const subscription of subscriptions) subscription.unsubscribe();
      totals.close();
    },
  };
}

const kickMs = 2000;
