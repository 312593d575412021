import { isUtf8 } from "node:buffer";

/** `NATS/1.0`, its CRLF and the blank line. */
export const smallestHeaderBlock = 12;

/** JetStream stores no more than 65,535 bytes of headers: this leaves room for the gateway's own. */
export const largestHeaderBlock = 61_440;

/** Each line costs a look-up: one message must not keep the others waiting. */
const mostLines = 256;

/** How every header block begins. A status (`NATS/1.0 503`) is the server's to give, never a client's. */
export const headerVersion = Buffer.from("NATS/1.0\r\n");

const cr = 0x0d;
const lf = 0x0a;
const colon = 0x3a;

/** RFC 9110 token characters: what a header's name is made of. */
const nameBytes = Uint8Array.from({ length: 256 }, (_, byte) =>
  /[!#$%&'*+.^_`|~0-9A-Za-z-]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

const asciiBytes = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 0x20 && byte < 0x7f ? 1 : 0));

/** Everything but control characters. */
const valueBytes = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 0x20 && byte !== 0x7f ? 1 : 0));

/**
 * What is wrong with a client's header block, or undefined: it must be `NATS/1.0`, lines of a name, a colon and a value,
 * and a blank line at its very end; UTF-8 throughout. Folded lines, blanks around a name and control characters are
 * nothing that all receivers read alike. Not checked: `largestHeaderBlock`, which a reader asks before it gathers the block.
 */
export function headerBlockProblem(buffer: Buffer, start: number, end: number): string | undefined {
  if (!beginsWithVersion(buffer, start)) return "headers must begin with NATS/1.0 and CR LF";
  // The line before the blank one ends in CR LF as well, so that no line can be read past the end.
  if (!lineEndAt(buffer, end - 4) || !lineEndAt(buffer, end - 2)) return "headers must end with a blank line";
  let lines = 0;
  let ascii = true;
  let at = start + headerVersion.length;
  for (; at < end - 2; lines++) {
    const separator = skip(nameBytes, buffer, at);
    if (separator === at || buffer[separator] !== colon) return badName;
    at = skip(asciiBytes, buffer, separator + 1);
    if (!lineEndAt(buffer, at)) {
      ascii = false;
      at = skip(valueBytes, buffer, at);
      if (!lineEndAt(buffer, at)) return "a header's value holds a control character";
    }
    at += 2;
  }
  if (lines > mostLines) return `a message has more than ${mostLines} headers`;
  return ascii || isUtf8(buffer.subarray(start, end)) ? undefined : "headers must be UTF-8";
}

const badName = "a header's name is not letters, digits and - before a colon";

/** Where the first byte is that is not of these. */
function skip(bytes: Uint8Array, buffer: Buffer, from: number): number {
  let at = from;
  while (bytes[buffer[at] as number] === 1) at++;
  return at;
}

function beginsWithVersion(buffer: Buffer, start: number): boolean {
  for (let at = 0; at < headerVersion.length; at++) if (buffer[start + at] !== headerVersion[at]) return false;
  return true;
}

function lineEndAt(buffer: Buffer, at: number): boolean {
  return buffer[at] === cr && buffer[at + 1] === lf;
}
