import { WayleaveError } from "../core/errors.ts";
import type { AuditRecord } from "../core/record.ts";
import { type NatsRow, NatsRows, natsRowKinds, RowFolder } from "./audit-nats-rows.ts";
import { type NatsListing, natsLines, thousands } from "./audit-nats-text.ts";
import type { Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { type Operator, queryOf } from "./operator.ts";
import { count, painter, printable } from "./terminal.ts";
import { timeOption } from "./time-option.ts";

/** Text is written in pieces of about this size, so that a million lines are not a million writes. */
const pieceLength = 1 << 16;

/**
 * What a job, or one session of it, did over NATS, message by message and oldest first; with `--json` one object a line.
 * Read and written page by page: however much it did, little of it is held.
 */
export async function listNats(io: CommandIo, input: Input, operator: Operator): Promise<void> {
  const whose = { session: input.text("session"), job: input.text("job") };
  if (whose.session === undefined && whose.job === undefined) {
    throw new WayleaveError("invalid_request", "--nats lists what one job did: give --job or --session.");
  }
  const asked = {
    ...whose,
    since: timeOption(io, input, "since"),
    until: timeOption(io, input, "until"),
    after: input.text("after"),
  };
  const write = writer(io, input, await listing(operator, whose));
  const folder = input.flag("fold") ? new RowFolder() : undefined;
  const rows = new NatsRows();
  const query = queryOf({ ...asked, kinds: natsRowKinds.join(",") });
  const stop = new AbortController();
  for await (const line of operator.lines(`/v1/records/history${query}`, stop.signal, () => undefined)) {
    for (const row of rows.of(JSON.parse(line) as AuditRecord)) {
      if (folder === undefined) write.row(row);
      else folder.take(row).forEach(write.row);
    }
  }
  folder?.rest().forEach(write.row);
  write.end();
}

type Connected = AuditRecord & { readonly kind: "nats.connected" };

/** Whose connections they are, before the first line is written: columns are as wide as they have to be. */
async function listing(operator: Operator, whose: Readonly<Record<string, string | undefined>>) {
  const query = queryOf({ ...whose, kind: "nats.connected", limit: "1000" });
  const { records } = await operator.get<{ records: readonly Connected[] }>(`/v1/records${query}`);
  const made = records.toReversed();
  return {
    connections: made.map(({ data }) => data.connection),
    roles: [...new Set(made.flatMap(({ data }) => data.roles))],
    owner: made[0],
  };
}

function writer(io: CommandIo, input: Input, known: NatsListing & { readonly owner: Connected | undefined }) {
  const json = input.flag("json");
  const paint = painter(io, io.stdout);
  const lines = natsLines(paint, known, io.stdout.isTTY === true);
  const totals = new Totals();
  let piece = "";
  const flush = (): void => {
    if (piece !== "") io.stdout.write(piece);
    piece = "";
  };
  const add = (text: string): void => {
    piece += text;
    if (piece.length >= pieceLength) flush();
  };
  if (!json && known.owner !== undefined) add(`${paint("bold", ownerText(known.owner))}\n${lines.head()}`);
  return {
    row: (row: NatsRow): void => {
      totals.add(row);
      add(json ? `${JSON.stringify(row)}\n` : lines.row(row));
    },
    end: (): void => {
      if (!json) add(totals.text(known.connections.length));
      flush();
    },
  };
}

function ownerText({ session, job, time }: Connected): string {
  const who = job === undefined ? "" : `  ${job.project} ${job.job_name ?? "job"} #${job.job_id}`;
  return printable(`session ${session ?? ""}${who}  ${time.slice(0, 10)} (UTC)`);
}

/** What a listing adds up to. */
class Totals {
  #published = 0;
  #delivered = 0;
  #denied = 0;
  #wrong = 0;
  #direct = 0;
  #rows = 0;

  add(row: NatsRow): void {
    this.#rows++;
    if (row.type === "connected" && row.mode === "direct") this.#direct++;
    if (row.type === "published") this.#published += (row.last ?? row.number) - row.number + 1;
    if (row.type === "delivered") this.#delivered++;
    if (row.type === "delivered_count") this.#delivered += row.messages;
    if (row.type === "denied" && row.outcome === "deny") this.#denied++;
    if (row.type === "missing" || row.type === "mismatch") this.#wrong++;
  }

  text(connections: number): string {
    if (this.#rows === 0) return "nothing over NATS\n";
    const wrong = this.#wrong === 0 ? "" : `, ${count(this.#wrong, "contradiction")}: see wayleave verify`;
    const sums = `${thousands(this.#published)} published, ${thousands(this.#delivered)} delivered, ${thousands(this.#denied)} denied`;
    const direct =
      this.#direct === 0 ? "" : `\nnot recorded: what came over ${count(this.#direct, "direct connection")}`;
    return `\n${count(connections, "connection")}: ${sums}${wrong}${direct}\n`;
  }
}
