import { expect, test } from "vitest";
import type { Operation } from "../core/target.ts";
import { namesOperation } from "./proof-url.ts";

const operation: Operation = { kind: "http", method: "GET", host: "billing.internal", path: "/v1/x", stream: false };

test.each([
  "https://billing.internal/v1/x",
  "https://billing.internal:8443/v1/x",
  "http://billing.internal/v1/x",
  "https://BILLING.internal/v1/x",
  "https://billing.internal/v1/y/../x",
  "https://billing.internal/v1/x#part",
])("%s names the request", (htu) => {
  expect(namesOperation(htu, operation)).toBe(true);
});

test.each([
  { htu: "https://billing.internal/v1/X", why: "another path" },
  { htu: "https://billing.internal/v1/x/", why: "a path with a slash more" },
  { htu: "https://billing.internal/v1/%78", why: "another spelling of the path" },
  { htu: "https://billing.internal/v1/x?a=b", why: "a query" },
  { htu: "https://billing.internal", why: "no path" },
  { htu: "https://ledger.internal/v1/x", why: "another host" },
  { htu: "https://billing.internal.evil.example/v1/x", why: "a host that begins alike" },
  { htu: "https://billing.internal@evil.example/v1/x", why: "a host in front of another" },
  { htu: "https://me@billing.internal/v1/x", why: "a user" },
  { htu: "ftp://billing.internal/v1/x", why: "another scheme" },
  { htu: "/v1/x", why: "no host" },
  { htu: "billing.internal/v1/x", why: "no scheme" },
  { htu: "", why: "nothing" },
  { htu: `https://billing.internal/v1/x#${"a".repeat(9000)}`, why: "no end" },
])("$htu does not: $why", ({ htu }) => {
  expect(namesOperation(htu, operation)).toBe(false);
});

test("nothing names a request without host, or what is no request", () => {
  expect(namesOperation("https://billing.internal/v1/x", { ...operation, host: "" })).toBe(false);
  expect(namesOperation("https://billing.internal/v1/x", { kind: "verb", verb: "read" })).toBe(false);
});
