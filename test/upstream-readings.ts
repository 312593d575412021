import type { HttpOperation } from "../src/core/target.ts";

/** One way in which an upstream may understand what it was sent. */
export interface Reading extends HttpOperation {
  readonly how: string;
}

interface Request {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
}

/**
 * All the readings that servers and frameworks are known for: the bytes as they are; decoded once or twice, with dots
 * resolved, slashes merged, backslashes turned and parameters cut; and with every header that overrides method, URL or host
 * believed, whatever separators it is spelled with. A request is safe when none of them is one the policy refuses.
 */
export function upstreamReadings(request: Request): Reading[] {
  const header = (name: string) => lastHeader(request.rawHeaders, name);
  const host = (header("host") ?? "").toLowerCase().replace(/:\d+$/, "");
  const raw: Reading = {
    how: "as sent",
    kind: "http",
    method: request.method,
    host,
    path: request.url.split("?")[0] ?? "",
    stream: header("upgrade") !== undefined,
  };
  const readings: Reading[] = [
    raw,
    { ...raw, how: "decoded", path: normalised(raw.path, 1) },
    { ...raw, how: "decoded twice", path: normalised(raw.path, 2) },
  ];
  for (const name of [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-forwarded-method",
    "x-original-method",
  ]) {
    const method = header(name);
    if (method !== undefined) readings.push({ ...raw, how: `with ${name} believed`, method });
  }
  for (const name of ["x-original-url", "x-rewrite-url", "x-original-uri", "x-forwarded-uri", "x-forwarded-prefix"]) {
    const path = header(name);
    if (path !== undefined) readings.push({ ...raw, how: `with ${name} believed`, path });
  }
  for (const name of ["x-forwarded-host", "x-original-host"]) {
    const other = header(name);
    if (other !== undefined) readings.push({ ...raw, how: `with ${name} believed`, host: other });
  }
  return readings;
}

/** The last header of that name, where every character but letters and digits counts as a separator. */
function lastHeader(rawHeaders: readonly string[], name: string): string | undefined {
  let found: string | undefined;
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase().replace(/[^a-z0-9]/g, "-") === name) found = rawHeaders[at + 1];
  }
  return found;
}

/** The path after lenient decoding, written again in the one spelling that policies know. */
function normalised(path: string, times: number): string {
  let text = path;
  for (let count = 0; count < times; count++) {
    text = text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
  const kept: string[] = [];
  for (const part of text.replaceAll("\\", "/").split("/")) {
    const name = part.split(";")[0] ?? "";
    if (name === "..") kept.pop();
    else if (name !== "" && name !== ".") kept.push(name);
  }
  return `/${kept.map((part) => encodeURIComponent(Buffer.from(part, "latin1").toString("utf8")).replace(/%(?!20)[0-7][0-9A-F]/g, "x")).join("/")}`;
}
