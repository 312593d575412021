import type { ConnectionOptions, NatsConnection } from "@nats-io/transport-node";
import type { AuditRecord } from "../src/core/record.ts";
import { type Connz, monitored } from "./nats-proof-admin.ts";
import type { NatsProof } from "./nats-proof-world.ts";

/** How a client of a load comes back. */
export const comingBack: ConnectionOptions = {
  ...{ reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 50, reconnectJitter: 10 },
  ignoreAuthErrorAbort: true,
};

const payload = "x".repeat(128);

/** What reached the server, as a user of the account saw it who does not come through the gateway. */
export class Reached {
  /** By connection: number of the message to its subject. */
  readonly byConnection = new Map<string, Map<number, string>>();
  count = 0;
  twice = 0;
  #waiting: { readonly least: number; readonly wake: () => void } | undefined;

  constructor(witness: NatsConnection) {
    witness.subscribe("load.*", {
      callback: (_, { headers, subject }) => this.#take(headers?.get("Wayleave-Message") ?? "", subject),
    });
  }

  more(messages: number): Promise<void> {
    return new Promise((wake) => {
      this.#waiting = { least: this.count + messages, wake };
    });
  }

  #take(message: string, subject: string): void {
    const [connection = "", number = ""] = message.split(".");
    const known = this.byConnection.get(connection) ?? new Map<number, string>();
    if (known.has(Number(number))) this.twice++;
    this.byConnection.set(connection, known.set(Number(number), subject));
    this.count++;
    if (this.#waiting === undefined || this.count < this.#waiting.least) return;
    const { wake } = this.#waiting;
    this.#waiting = undefined;
    wake();
  }
}

/** A job that publishes without end, in batches, and comes back by itself after each crash with the password it had. */
export class Publisher {
  readonly #client: NatsConnection;
  readonly #stopped: Promise<void>;
  #over = false;
  sent = 0;
  connects = 1;

  constructor(client: NatsConnection, subject: string) {
    this.#client = client;
    this.#stopped = this.#run(subject);
    void this.#follow();
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#stopped;
    await this.#client.close();
  }

  async #run(subject: string): Promise<void> {
    while (!this.#over) {
      for (let n = 0; n < 500; n++) this.#client.publish(subject, payload);
      this.sent += 500;
      await this.#client.flush().catch(() => undefined); // the gateway died meanwhile
    }
  }

  async #follow(): Promise<void> {
    for await (const { type } of this.#client.status()) if (type === "reconnect") this.connects++;
  }
}

/** By connection: number of each recorded message to its subject. */
export function rowsOf(records: readonly AuditRecord[]): ReadonlyMap<string, ReadonlyMap<number, string>> {
  const rows = new Map<string, Map<number, string>>();
  for (const record of records) {
    if (record.kind !== "nats.published") continue;
    const { connection, first, messages } = record.data;
    const known = rows.get(connection) ?? new Map<number, string>();
    rows.set(connection, known);
    messages.forEach((row, at) => {
      if (known.has(first + at)) throw new Error(`message ${first + at} of ${connection} is recorded twice`);
      known.set(first + at, row.split(" ")[1] ?? "");
    });
  }
  return rows;
}

/** Messages that reached the server and are not recorded so; and the most that were recorded of a connection and did not. */
export function compare(rows: ReturnType<typeof rowsOf>, { byConnection }: Reached) {
  const unrecorded = [...byConnection].flatMap(([connection, messages]) =>
    [...messages].filter(([number, subject]) => rows.get(connection)?.get(number) !== subject),
  );
  const ahead = [...rows].map(([connection, messages]) => messages.size - (byConnection.get(connection)?.size ?? 0));
  return { unrecorded, ahead: Math.max(0, ...ahead) };
}

/** Connections of jobs that the server has. */
export async function jobConnections({ world }: NatsProof): Promise<readonly string[]> {
  const { connections } = await monitored<Connz>(world, "connz");
  return connections.flatMap(({ name = "" }) => /\((nc_\w+)\)$/.exec(name)?.[1] ?? []);
}
