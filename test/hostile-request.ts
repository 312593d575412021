/**
 * Requests that try to be read as two different ones, as bytes. The policy they are aimed at, for every gateway alike:
 * token `good` may GET below /v1 on host billing.internal, and nothing else; every other token is nothing. What a client
 * says of its own identity is always the word `spoofed`.
 */
export interface HostileRequest {
  readonly name: string;
  /** Exactly what is sent, one character a byte. */
  readonly bytes: string;
  /** `served`: a plain request, which proves that the path is open. `refused`: nothing may reach the upstream. */
  readonly expected: "served" | "refused" | "either";
  /** The credential the request carries; undefined: none that is valid. */
  readonly authorization?: string;
}

export const good = "Authorization: Bearer good";
export const host = "Host: billing.internal";
export const close = "Connection: close";
export const plain = [host, good, close];

export function bytes(line: string, fields: readonly string[], body = ""): string {
  return `${[line, ...fields].join("\r\n")}\r\n\r\n${body}`;
}

type Expected = HostileRequest["expected"];

/** Cases of one kind: `name: text` of what varies, the bytes made of it. */
export function cases(
  name: string,
  expected: Expected,
  texts: readonly string[],
  make: (text: string) => string,
  authorization: string | undefined = "Bearer good",
): HostileRequest[] {
  return texts.map((text) => ({
    name: `${name}: ${JSON.stringify(text)}`,
    bytes: make(text),
    expected,
    ...(authorization === undefined ? {} : { authorization }),
  }));
}

export const get = (path: string) => bytes(`GET ${path} HTTP/1.1`, plain);
export const withField = (field: string) => bytes("GET /v1/a HTTP/1.1", [...plain, ...field.split("\n")]);
