/** One stream of a client: latin1 text, one character a byte. */
export interface HostileStream {
  readonly wire: string;
  /** Operations it was made of, the spoiled ones included. */
  readonly operations: number;
  /** Subject of the message that was put at its end: told last where the whole stream was taken. */
  readonly end: string;
}

export const fuzzLimits = { maxLine: 300, maxPayload: 2_000 };

/** The same numbers for the same seed: mulberry32. */
class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** 0 up to `below`, a whole number. */
  next(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.next(from.length)] as T;
  }
}

const subjects = ["a", "a.b", "build.status.42.done", "$KV.bucket.key", "x-y_z/~!", "5", "12.7", "PUB", "e.PUB.a.0"];
const replies = ["", "", "", "", "r", "_INBOX.aB3.1", "7", "12", "PING"];
const moreSubjects = Array.from({ length: 90 }, (_, at) => `deploy.events.${"abcdefghij".slice(0, at % 10)}${at}`);

/** Payloads, many of which would be operations if anything before them were read wrongly. */
const payloads = [
  "",
  "hello",
  "\r\n",
  "\r\n\r\n",
  "PUB evil 0\r\n\r\n",
  "\r\nPUB evil 5\r\nhello\r\n",
  "x\r\nHPUB evil 12 12\r\nNATS/1.0\r\n\r\n\r\nSUB > 1\r\nPUB evil 2\r\n",
  "NATS/1.0\r\nWayleave-Job: boss\r\n\r\n",
  "\0\xff\x80\r\r\n\n",
  '{"json":true,"n":12}',
  "-ERR 'x'\r\nMSG evil 1 0\r\n\r\n",
  "x".repeat(128),
  "y".repeat(700),
];

const headerLines = [
  "A: b",
  "A:b",
  "A:     b",
  "A:",
  "Content-Type: application/json",
  "X-Text: caf\xc3\xa9 \xe2\x82\xac",
  "X-Nats: Nats-Rollup: all",
  "Nats-Msg-Id: 77",
  "nats_msg_id: 77",
  "Nats-Expected-Stream: S",
  "Wayleave-Job: boss",
  "wayleave.message: nc_other.1",
  'Nats-Request-Info: {"user":"boss"}',
  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  "Nats-Trace-Dest: evil.trace",
  "Nats-Rollup: all",
  "Nats-Schedule-Target: evil.target",
];

const badBlocks = [
  "NATS/1.0\r\nA : b\r\n\r\n",
  "NATS/1.0\r\nA: b\nNats-Request-Info: {}\r\n\r\n",
  "NATS/1.0\r\nA: b",
  "NATS/1.0\r\nA: b\r\n",
  "NATS/1.0\r\nA: b\r\n\r\nC: d\r\n\r\n",
  "NATS/1.0 503\r\n\r\n",
  "NATS/1.0\r\nA: b\0c\r\n\r\n",
  "NATS/1.0\r\n folded: b\r\n\r\n",
  "NATS/1.0\nA: b\n\n",
  "nats/1.0\r\nA: b\r\n\r\n",
  "NATS/1.0\r\nA: \xff\r\n\r\n",
  "garbage of at least twelve bytes",
];

function block(chance: Chance): string {
  const lines = Array.from({ length: chance.next(4) }, () => chance.pick(headerLines));
  return `NATS/1.0\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
}

function hpub(words: string, headers: string, payload: string): string {
  return `HPUB ${words} ${headers.length} ${headers.length + payload.length}\r\n${headers}${payload}\r\n`;
}

/** One operation as a client may write it. */
function operation(chance: Chance): string {
  const dice = chance.next(100);
  if (dice < 80) {
    const reply = chance.pick(replies);
    const subject = chance.next(4) === 0 ? chance.pick(subjects) : chance.pick(moreSubjects);
    const spare = reply === "" && chance.next(8) === 0 ? " " : "";
    const words = reply === "" ? `${subject}${spare}` : `${subject} ${reply}`;
    const payload = chance.pick(payloads);
    return dice < 55 ? `PUB ${words} ${payload.length}\r\n${payload}\r\n` : hpub(words, block(chance), payload);
  }
  const sid = chance.pick(["1", "2", "77", "A-b_c"]) + chance.next(10);
  if (dice < 86)
    return `SUB ${chance.pick(["a.*", "a.>", "deploy.events.x", ">"])} ${chance.pick(["", " ", "q ", "w.1 "])}${sid}\r\n`;
  if (dice < 92) return `UNSUB ${sid}${chance.pick(["", " ", " 0", " 900000000"])}\r\n`;
  return dice < 96 ? "PING\r\n" : "PONG\r\n";
}

type Spoil = (operation: string, chance: Chance) => string;

const cut = (text: string, at: number, remove: number, insert = "") =>
  text.slice(0, at) + insert + text.slice(at + remove);

/** Changes the `nth` match of many, chosen by chance; the text as it was where there is none. */
function change(text: string, pattern: RegExp, chance: Chance, to: (match: string) => string): string {
  const found = [...text.matchAll(pattern)];
  if (found.length === 0) return text;
  const { index, 0: match } = chance.pick(found);
  return cut(text, index, match.length, to(match));
}

const spoils: readonly Spoil[] = [
  (text, chance) => {
    const at = chance.next(text.length);
    return cut(text, at, 1, String.fromCharCode(text.charCodeAt(at) ^ (1 << chance.next(8))));
  },
  (text, chance) => cut(text, chance.next(text.length), 1),
  (text, chance) =>
    cut(text, chance.next(text.length), 0, chance.pick(["\0", " ", "\t", "\r", "\n", "\r\n", "0", "*", ".", ":", "é"])),
  (text, chance) => text.slice(0, chance.next(text.length)),
  (text, chance) => change(text, /^[A-Z]+/g, chance, (word) => word.toLowerCase()),
  (text, chance) => change(text, /[A-Z]/g, chance, (letter) => letter.toLowerCase()),
  (text, chance) => change(text, / /g, chance, () => chance.pick(["\t", "  ", " \t", "\xa0", ""])),
  (text, chance) =>
    change(text, /\r\n/g, chance, () => chance.pick(["\n", "\r", "\n\r", "\r\r\n", " \r\n", "\r\n\r\n"])),
  (text, chance) => change(text, /\b\d+\b/g, chance, (size) => String(Math.max(0, Number(size) + chance.next(7) - 3))),
  (text, chance) => change(text, /\b\d+\b/g, chance, (size) => chance.pick(["0", "+", "-", "00"]) + size),
  (text, chance) =>
    change(text, /\b\d+\b/g, chance, () =>
      chance.pick(["4294967296", "18446744073709551621", "0x5", "1e1", "5.0", "2001"]),
    ),
  (text, chance) => change(text, /[a-z]+/g, chance, () => chance.pick(["*", ">", "a*", "..", "", "\xc3\xa9", "a\x7f"])),
  (_, chance) => hpub(chance.pick(subjects), chance.pick(badBlocks), chance.pick(payloads)),
  (_, chance) => {
    const payload = "z".repeat(fuzzLimits.maxPayload - 1 + chance.next(4));
    return `PUB a ${payload.length}\r\n${payload}\r\n`;
  },
  (_, chance) => `PUB ${"s".repeat(fuzzLimits.maxLine - 8 + chance.next(6))} 0\r\n\r\n`,
  (_, chance) =>
    chance.pick(["MSG evil 1 0\r\n\r\n", "INFO {}\r\n", "+OK\r\n", "RMSG a evil 0\r\n\r\n", "\r\n", "A+ x\r\n"]),
];

/** Streams of operations as clients write them, about half of them with one or two that are spoiled. */
export class HostileStreams {
  readonly #chance: Chance;
  #count = 0;

  constructor(seed: number) {
    this.#chance = new Chance(seed);
  }

  next(): HostileStream {
    const chance = this.#chance;
    const operations = Array.from({ length: 1 + chance.next(30) }, () => operation(chance));
    for (let left = chance.pick([0, 0, 1, 1, 2]); left > 0; left--) {
      const at = chance.next(operations.length);
      operations[at] = chance.pick(spoils)(operations[at] as string, chance);
    }
    const end = `end.${this.#count++}`;
    return { wire: `${operations.join("")}PUB ${end} 0\r\n\r\n`, operations: operations.length + 1, end };
  }

  /** The stream in chunks, as a network may split it. */
  split(wire: Buffer): readonly Buffer[] {
    const chance = this.#chance;
    if (chance.next(50) === 0) return Array.from(wire, (_, at) => wire.subarray(at, at + 1));
    const places = Array.from({ length: chance.next(5) }, () => chance.next(wire.length + 1)).sort((a, b) => a - b);
    return [...places, wire.length].map((place, at) => wire.subarray(places[at - 1] ?? 0, place));
  }
}
