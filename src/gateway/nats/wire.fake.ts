import { ClientReader } from "./client-reader.ts";
import { ServerReader } from "./server-reader.ts";
import type { ClientOps, MessageOp, PublishOp, ServerOps, WireLimits } from "./wire.ts";

/** What a reader told, one array an operation: its name and its words; bytes as latin1 text. */
export type Told = readonly (string | number)[];

export const limits: WireLimits = { maxLine: 4096, maxPayload: 65_536 };

export class ToldOps implements ClientOps, ServerOps {
  readonly told: Told[] = [];
  connect(json: string): void {
    this.told.push(["connect", json]);
  }
  info(json: string): void {
    this.told.push(["info", json]);
  }
  publish(op: PublishOp): void {
    this.told.push(["publish", op.subject, op.reply, ...blocks(op)]);
  }
  message(op: MessageOp): void {
    this.told.push(["message", op.subject, op.sid, op.reply, ...blocks(op)]);
  }
  subscribe(subject: string, queue: string, sid: string): void {
    this.told.push(["subscribe", subject, queue, sid]);
  }
  unsubscribe(sid: string, max: number): void {
    this.told.push(["unsubscribe", sid, max]);
  }
  ping(): void {
    this.told.push(["ping"]);
  }
  pong(): void {
    this.told.push(["pong"]);
  }
  ok(): void {
    this.told.push(["ok"]);
  }
  error(text: string): void {
    this.told.push(["error", text]);
  }
  violation({ code }: { readonly code: string }): void {
    this.told.push(["violation", code]);
  }
}

function blocks(op: PublishOp): [string, string] {
  const { buffer, headerStart, headerEnd, payloadEnd } = op;
  return [buffer.toString("latin1", headerStart, headerEnd), buffer.toString("latin1", headerEnd, payloadEnd)];
}

/** Chunks given as latin1 text or bytes; every chunk is wiped once it was pushed, as a socket's own buffer may be. */
export function readClient(chunks: readonly (string | Buffer)[], within = limits): readonly Told[] {
  const ops = new ToldOps();
  pushAll(new ClientReader(ops, within), chunks);
  return ops.told;
}

export function readServer(chunks: readonly (string | Buffer)[], within = limits): readonly Told[] {
  const ops = new ToldOps();
  pushAll(new ServerReader(ops, within), chunks);
  return ops.told;
}

function pushAll(reader: { push(chunk: Buffer): void }, chunks: readonly (string | Buffer)[]): void {
  for (const chunk of chunks) {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk, "latin1") : Buffer.from(chunk);
    reader.push(bytes);
    bytes.fill(0);
  }
}

/** The text cut at these places, which are taken modulo its length. */
export function cutAt(text: string, places: readonly number[]): readonly string[] {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].sort((a, b) => a - b);
  return [...cuts, text.length].map((end, at) => text.slice(cuts[at - 1] ?? 0, end));
}
