import { Client } from "pg";
import { clientConfig, type DatabaseAddress } from "./database.ts";

/** One connection that is made when it is needed, and made again after it was lost. */
export interface KeptConnection {
  /** The connection, made and prepared. Rejects with what the database or network said, or `prepare` threw. */
  get(): Promise<Client>;
  /** Gives it up: the next `get` makes another. */
  drop(): void;
  close(): Promise<void>;
}

/**
 * @param name What it is called in `pg_stat_activity`.
 * @param prepare Called with each new connection, before anybody gets it.
 */
export function keepConnection(
  address: DatabaseAddress,
  name: string,
  prepare: (client: Client) => Promise<void>,
): KeptConnection {
  let current: Client | undefined;
  let making: Promise<Client> | undefined;
  const make = async (): Promise<Client> => {
    const client = new Client(clientConfig(address, name));
    const lost = () => {
      if (current === client) current = undefined;
    };
    client.on("error", lost).on("end", lost);
    try {
      await client.connect();
      await prepare(client);
      current = client;
      return client;
    } catch (error) {
      discard(client);
      throw error;
    }
  };
  return {
    async get() {
      if (current !== undefined) return current;
      making ??= make().finally(() => {
        making = undefined;
      });
      return making;
    },
    drop() {
      if (current !== undefined) discard(current);
      current = undefined;
    },
    async close() {
      await making?.catch(() => undefined);
      const client = current;
      current = undefined;
      await client?.end().catch(() => undefined); // it is gone either way
    },
  };
}

/** Without waiting for a farewell that may never be answered. */
function discard(client: Client): void {
  const { connection } = client as unknown as { readonly connection: { readonly stream: { destroy(): void } } };
  connection.stream.destroy();
}
