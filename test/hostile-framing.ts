import { bytes, good, type HostileRequest, host } from "./hostile-request.ts";

const hidden = "GET /admin HTTP/1.1\r\nHost: billing.internal\r\nX-Wayleave-Subject: spoofed\r\n\r\n";
const framed = (fields: readonly string[], body: string) => bytes("GET /v1/a HTTP/1.1", [host, good, ...fields], body);
export const framingCases: readonly HostileRequest[] = [
  ["two lengths", ["Content-Length: 0", `Content-Length: ${hidden.length}`], hidden],
  ["a length of two numbers", [`Content-Length: 0, ${hidden.length}`], hidden],
  ["a negative length", ["Content-Length: -1"], hidden],
  ["a signed length", ["Content-Length: +0"], hidden],
  ["a hexadecimal length", ["Content-Length: 0x0"], hidden],
  ["length and chunked", [`Content-Length: ${hidden.length}`, "Transfer-Encoding: chunked"], `0\r\n\r\n${hidden}`],
  ["chunked and length", ["Transfer-Encoding: chunked", "Content-Length: 5"], `0\r\n\r\n${hidden}`],
  ["chunked twice", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], `0\r\n\r\n${hidden}`],
  ["an unknown coding", ["Transfer-Encoding: xchunked"], `0\r\n\r\n${hidden}`],
  ["chunked with a space before the colon", ["Transfer-Encoding : chunked", "Content-Length: 5"], `0\r\n\r\n${hidden}`],
  ["chunked after a tab", ["Transfer-Encoding:\tchunked"], `0\r\n\r\n${hidden}`],
  ["chunked by an underscore", ["Transfer_Encoding: chunked", `Content-Length: ${hidden.length}`], hidden],
  ["a chunk size too large", ["Transfer-Encoding: chunked"], `ffffffffffffffffff\r\n${hidden}`],
  ["a chunk extension", ["Transfer-Encoding: chunked"], `0;x=\r\n\r\n${hidden}`],
  ["trailers with an identity", ["Transfer-Encoding: chunked"], `0\r\nX-Wayleave-Subject: spoofed\r\n\r\n${hidden}`],
  ["bare line feeds", ["Content-Length: 0\nX-Wayleave-Subject: spoofed"], hidden],
  ["bare carriage returns", ["X-A: b\rX-Wayleave-Subject: spoofed"], hidden],
  ["a folded header", ["X-A: b\r\n Authorization: Bearer bad"], hidden],
  ["a body that is a request", [`Content-Length: ${hidden.length}`], hidden],
  ["a pipelined request without a token", [], hidden],
  ["a pipelined request with the token", [], hidden.replace("X-Wayleave-Subject: spoofed", good)],
  ["Expect and a hidden request", ["Expect: 100-continue", "Content-Length: 0"], hidden],
].map(([name, fields, body]) => ({
  name: `framing: ${name as string}`,
  bytes: framed(fields as string[], body as string),
  expected: "either" as const,
  authorization: "Bearer good",
}));
