/** One element of a DER encoding. */
export interface DerElement {
  readonly tag: number;
  /** Tag, length and content. */
  readonly bytes: Uint8Array;
  readonly content: Uint8Array;
  /** Of a constructed element; empty for a primitive one. */
  readonly parts: readonly DerElement[];
}

const maxDepth = 24;

/**
 * The one element these bytes are. Throws `TypeError` for what DER does not allow and lenient readers take all the same:
 * bytes after the end, lengths of indefinite or needlessly long form, numbers and booleans written in a second way. So two
 * readers never see two things. Not checked: the order of a SET, and what is inside strings.
 *
 * @see ITU-T X.690 §10
 */
export function readDer(bytes: Uint8Array): DerElement {
  const element = readElement(bytes, 0);
  if (element.bytes.length !== bytes.length) throw new TypeError("bytes after the end");
  return element;
}

function readElement(bytes: Uint8Array, depth: number): DerElement {
  if (depth > maxDepth) throw new TypeError("nested too deeply");
  const [tag, first] = bytes;
  if (tag === undefined || first === undefined) throw new TypeError("cut off");
  if ((tag & 0x1f) === 0x1f) throw new TypeError("a tag of several bytes");
  const { length, at } = first < 0x80 ? { length: first, at: 2 } : longLength(bytes, first & 0x7f);
  const content = bytes.subarray(at, at + length);
  if (content.length !== length) throw new TypeError("cut off");
  checkForm(tag, content);
  const parts = (tag & 0x20) === 0 ? [] : readParts(content, depth + 1);
  return { tag, bytes: bytes.subarray(0, at + length), content, parts };
}

function readParts(content: Uint8Array, depth: number): readonly DerElement[] {
  const parts: DerElement[] = [];
  for (let rest = content; rest.length > 0; ) {
    const part = readElement(rest, depth);
    parts.push(part);
    rest = rest.subarray(part.bytes.length);
  }
  return parts;
}

function longLength(bytes: Uint8Array, size: number): { readonly length: number; readonly at: number } {
  if (size === 0 || size > 3) throw new TypeError("a length of indefinite form or no sane size");
  let length = 0;
  for (const byte of bytes.subarray(2, 2 + size)) length = length * 256 + byte;
  if (bytes.length < 2 + size) throw new TypeError("cut off");
  if (length < 0x80 || length < 256 ** (size - 1)) throw new TypeError("a length written too long");
  return { length, at: 2 + size };
}

const boolean = 0x01;
const integer = 0x02;

function checkForm(tag: number, content: Uint8Array): void {
  const [first = 0, second = 0] = content;
  if (tag === boolean && !(content.length === 1 && (first === 0 || first === 0xff)))
    throw new TypeError("a boolean that is neither");
  if (tag !== integer) return;
  const padded = content.length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
  if (content.length === 0 || padded) throw new TypeError("a number written too long");
}
