import { GrpcError, grpcStatus } from "../../grpc/status.ts";
import { kind, kindOf } from "./check-header-kind.ts";
import { type HeaderReading, readHeader, startReading } from "./check-request.ts";

/** What is needed of a `CheckRequest`. Texts are empty where they were absent. */
export interface CheckMessage {
  target: string;
  principal: string;
  /** The question is about an HTTP request. */
  http: boolean;
  method: string;
  path: string;
  host: string;
  /** Headers came each for itself (`encode_raw_headers`). */
  headerMap: boolean;
  readonly headers: HeaderReading;
}

/**
 * Reads an encoded `envoy.service.auth.v3.CheckRequest`, and of it only what the check asks for: decoding by the schema
 * would be a third of the whole call. A test holds it against the schema. Throws `GrpcError` INTERNAL for what is no such
 * message; groups, which proto3 has not, included.
 */
export function readCheckMessage(bytes: Uint8Array): CheckMessage {
  const message: CheckMessage = {
    target: "",
    principal: "",
    http: false,
    method: "",
    path: "",
    host: "",
    headerMap: false,
    headers: startReading(),
  };
  const cursor = new Cursor(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  while (cursor.next()) if (cursor.at(1)) attributes(message, cursor.inside());
  return message;
}

function attributes(message: CheckMessage, cursor: Cursor): void {
  while (cursor.next()) {
    if (cursor.at(1)) peer(message, cursor.inside());
    else if (cursor.at(4)) request(message, cursor.inside());
    else if (cursor.at(10)) extension(message, cursor.inside());
  }
}

function peer(message: CheckMessage, cursor: Cursor): void {
  while (cursor.next()) if (cursor.at(4)) message.principal = cursor.text();
}

function request(message: CheckMessage, cursor: Cursor): void {
  while (cursor.next()) {
    if (!cursor.at(2)) continue;
    message.http = true;
    httpRequest(message, cursor.inside());
  }
}

function extension(message: CheckMessage, cursor: Cursor): void {
  let key = "";
  let value = "";
  while (cursor.next()) {
    if (cursor.at(1)) key = cursor.text();
    else if (cursor.at(2)) value = cursor.text();
  }
  if (key === "target") message.target = value;
}

function httpRequest(message: CheckMessage, cursor: Cursor): void {
  while (cursor.next()) {
    if (cursor.at(2)) message.method = cursor.text();
    else if (cursor.at(4)) message.path = cursor.text();
    else if (cursor.at(5)) message.host = cursor.text();
    else if (cursor.at(13)) headerMap(message, cursor.inside());
  }
}

function headerMap(message: CheckMessage, cursor: Cursor): void {
  message.headerMap = true;
  while (cursor.next()) if (cursor.at(1)) header(message.headers, cursor.inside());
}

/** Most headers say nothing to us: of those only the name is made text. */
function header(reading: HeaderReading, cursor: Cursor): void {
  let name = "";
  let value: Cursor | undefined;
  let raw: Cursor | undefined;
  while (cursor.next()) {
    if (cursor.at(1)) name = cursor.text();
    else if (cursor.at(2)) value = cursor.inside();
    else if (cursor.at(3)) raw = cursor.inside();
  }
  const found = kindOf(name);
  if (found === kind.plain) return;
  readHeader(reading, found, name, raw === undefined || raw.empty ? (value?.wholeText() ?? "") : raw.wholeLatin1());
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The fields of one message, one after the other. */
class Cursor {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;
  #field = 0;
  #wire = 0;
  /** Where the field's content begins; it ends at `#at`. */
  #from = 0;

  constructor(bytes: Buffer, from = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = end;
  }

  /** Goes to the next field; false at the end. */
  next(): boolean {
    if (this.#at === this.#end) return false;
    const tag = this.#varint();
    this.#field = tag >>> 3;
    this.#wire = tag & 7;
    if (this.#field === 0) throw broken();
    if (this.#wire === 0) this.#skipVarint();
    else this.#skip(this.#length());
    return true;
  }

  /** Whether this is that field; all fields that are read have a length. */
  at(field: number): boolean {
    if (this.#field !== field) return false;
    if (this.#wire !== 2) throw broken();
    return true;
  }

  inside(): Cursor {
    return new Cursor(this.#bytes, this.#from, this.#at);
  }

  text(): string {
    return this.#text(this.#from, this.#at);
  }

  get empty(): boolean {
    return this.#at === this.#end;
  }

  /** Everything that is left, as text or as bytes. */
  wholeText(): string {
    return this.#text(this.#at, this.#end);
  }

  wholeLatin1(): string {
    return this.#bytes.toString("latin1", this.#at, this.#end);
  }

  #text(from: number, to: number): string {
    const text = this.#bytes.toString("latin1", from, to);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is its own UTF-8
    if (/^[\x00-\x7f]*$/.test(text)) return text;
    try {
      return utf8.decode(this.#bytes.subarray(from, to));
    } catch {
      throw broken();
    }
  }

  #length(): number {
    if (this.#wire === 2) return this.#varint();
    if (this.#wire === 1) return 8;
    if (this.#wire === 5) return 4;
    throw broken();
  }

  #skip(length: number): void {
    if (length > this.#end - this.#at) throw broken();
    this.#from = this.#at;
    this.#at += length;
  }

  /** At most 32 bits: tags and lengths have no more. */
  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35 && this.#at < this.#end; shift += 7) {
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80 && value <= 0xffffffff) return value;
      if (byte < 0x80) break;
    }
    throw broken();
  }

  #skipVarint(): void {
    for (let bytes = 0; bytes < 10 && this.#at < this.#end; bytes++) {
      if ((this.#bytes[this.#at++] as number) < 0x80) return;
    }
    throw broken();
  }
}

function broken(): GrpcError {
  return new GrpcError(grpcStatus.internal, "the request is no envoy.service.auth.v3.CheckRequest");
}
