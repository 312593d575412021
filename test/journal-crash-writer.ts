import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { openJournal } from "../src/audit/journal.ts";
import type { AuditEvent } from "../src/core/record.ts";
import { openAuditIndex } from "../src/store/audit-index.ts";

/**
 * Writes to a journal until it is killed, and says on stdout what it was given: `noted <id> <word>` at once, as a
 * gateway is answered, and `durable <id> <word>` when the journal promised it. Each word is used once.
 */
const [dataDir = "", round = ""] = process.argv.slice(2);
const clock = { now: Date.now };
const random = (bytes: number) => randomBytes(bytes);
const journal = await openJournal({ dir: join(dataDir, "journal"), clock, random, segmentBytes: 1 << 14 });
await openAuditIndex(join(dataDir, "index.sqlite"), journal);

let words = 0;

function event(kind: "decision" | "session.ended"): { event: AuditEvent; word: string } {
  const word = `${round}-${++words}`;
  if (kind === "session.ended") return { word, event: { kind, data: { reason: "client_end", detail: word } } };
  const data = { gateway: "edge-1", target: "billing", operation: "GET /", policy: "41c0", reason: "allowed" } as const;
  return { word, event: { kind, data: { ...data, effect: "allow", outcome: "allow", detail: word } } };
}

function say(what: "noted" | "durable", id: string, word: string): void {
  process.stdout.write(`${what} ${id} ${word}\n`);
}

async function appendForEver(size: number): Promise<never> {
  for (;;) {
    const group = Array.from({ length: size }, () => event("session.ended"));
    const records = await journal.append(group.map((one) => one.event));
    for (const [at, { id }] of records.entries()) say("durable", id, group[at]?.word ?? "");
  }
}

async function noteForEver(): Promise<never> {
  for (;;) {
    const notes = Array.from({ length: 5 }, () => event("decision")).map((one) => ({
      ...one,
      id: journal.note(one.event),
    }));
    for (const { id, word } of notes) say("noted", id, word);
    await journal.settled();
    for (const { id, word } of notes) say("durable", id, word);
  }
}

await Promise.all([appendForEver(1), appendForEver(3), appendForEver(40), noteForEver()]);
