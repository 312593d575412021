import type { AuditRecord } from "../../core/record.ts";
import type { NatsTraffic } from "../story-facts.ts";

type Sum = { -readonly [K in keyof NatsTraffic]: NatsTraffic[K] };

/**
 * Adds up the records of messages, which must come oldest first. Their lists may have been left out (`brief`): how many
 * messages a connection published is then the number of its last one, for which the last record of each connection is
 * wanted whole. A record that is missing in between shows in the bytes.
 */
export class NatsTrafficSums {
  readonly #sums = new Map<string, Sum>();
  /** The last record of published messages of each connection. */
  readonly #last = new Map<string, AuditRecord & { readonly kind: "nats.published" }>();

  add(record: AuditRecord): void {
    if (record.kind === "nats.published") {
      const sum = this.#sum(record.data, Date.parse(record.time));
      sum.published = { messages: sum.published.messages, bytes: sum.published.bytes + record.data.bytes };
      this.#last.set(record.data.connection, record);
    }
    if (record.kind === "nats.delivered") {
      const { messages, bytes } = record.data;
      const sum = this.#sum(record.data, record.data.last_at);
      sum.delivered = { messages: sum.delivered.messages + messages, bytes: sum.delivered.bytes + bytes };
    }
  }

  /** Records that are wanted whole: each connection's last, where its messages were left out. */
  wanted(): readonly string[] {
    return [...this.#last.values()].filter(({ data }) => data.messages.length === 0).map(({ id }) => id);
  }

  /** @param whole The wanted records. */
  sums(whole: readonly AuditRecord[], cut: boolean): readonly NatsTraffic[] {
    for (const record of whole) {
      if (record.kind === "nats.published") this.#last.set(record.data.connection, record);
    }
    return [...this.#sums.values()].map((sum) => {
      const last = this.#last.get(sum.connection);
      const messages = last === undefined ? 0 : last.data.first + last.data.messages.length - 1;
      return { ...sum, published: { messages, bytes: sum.published.bytes }, cut };
    });
  }

  #sum({ connection, gateway }: { readonly connection: string; readonly gateway: string }, at: number): Sum {
    const none = { messages: 0, bytes: 0 };
    const found = this.#sums.get(connection);
    const sum: Sum = found ?? { connection, gateway, published: none, delivered: none, lastAt: at, cut: false };
    sum.lastAt = Math.max(sum.lastAt, at);
    this.#sums.set(connection, sum);
    return sum;
  }
}
