import { describe, expect, test } from "vitest";
import { istioMtlsPairs } from "./mtls-series.ts";

const labels = (parts: Readonly<Record<string, string>> = {}): string => {
  const all = {
    reporter: "destination",
    source_principal: "spiffe://cluster.local/ns/edge/sa/nginx",
    destination_principal: "spiffe://cluster.local/ns/bank/sa/billing",
    destination_workload: "billing",
    destination_workload_namespace: "bank",
    connection_security_policy: "mutual_tls",
    ...parts,
  };
  return Object.entries(all)
    .map(([name, value]) => `${name}="${value}"`)
    .join(",");
};
const line = (parts: Readonly<Record<string, string>>, value: string) =>
  `istio_requests_total{${labels(parts)}} ${value}\n`;
const pair = {
  caller: "spiffe://cluster.local/ns/edge/sa/nginx",
  service: "spiffe://cluster.local/ns/bank/sa/billing",
  workload: "bank/billing",
  mtls: true,
};

test("a scrape: identities, and how often since the proxy began", () => {
  const text = `# TYPE istio_requests_total counter\n${line({ response_code: "200" }, "3")}${line({ response_code: "403" }, "2 1764000000000")}other{a="b"} 1\n`;
  expect(istioMtlsPairs(text, 1764000005000)).toEqual({
    pairs: [{ ...pair, requests: 5, firstAt: 1764000000000, lastAt: 1764000005000 }],
    unread: 0,
  });
});

test("a range: only while the count rose, over a restart too", () => {
  const metric = Object.fromEntries(
    [...`istio_requests_total{${labels()}}`.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]),
  );
  const values = [
    [100, "7"],
    [105, "7"],
    [110, "9"],
    [115, "1"],
    [120, "1"],
  ];
  const text = JSON.stringify({
    status: "success",
    data: { resultType: "matrix", result: [{ metric: { __name__: "istio_requests_total", ...metric }, values }] },
  });
  expect(istioMtlsPairs(text, 0).pairs).toEqual([{ ...pair, requests: 3, firstAt: 105_000, lastAt: 115_000 }]);
});

describe("is no evidence of mutual TLS", () => {
  test.each<{ what: string; parts: Record<string, string>; found: object | undefined }>([
    { what: "plain text", parts: { connection_security_policy: "none" }, found: { mtls: false, caller: undefined } },
    {
      what: "a caller without an identity",
      parts: { source_principal: "unknown" },
      found: { mtls: false, caller: undefined },
    },
    { what: "the caller's own word", parts: { reporter: "source" }, found: undefined },
    { what: "an unknown reporter", parts: { reporter: "" }, found: undefined },
  ])("$what", ({ parts, found }) => {
    const { pairs } = istioMtlsPairs(line(parts, "1"), 5);
    expect(pairs).toEqual(found === undefined ? [] : [expect.objectContaining(found)]);
  });

  test("a count of nothing", () => {
    expect(istioMtlsPairs(line({}, "0"), 5).pairs).toEqual([]);
  });
});

test.each([
  ['istio_requests_total{reporter="destination} 1', 1],
  ['istio_requests_total{a="1",a="2"} 1', 1],
  ["istio_requests_total{} NaN", 1],
  ["istio_requests_total{} -1", 1],
  ["nonsense line with words", 1],
  ["{", 1],
  ['{"status":"error"}', 1],
  ['{"status":"success","data":{"result":[{"metric":{"__name__":"istio_requests_total"},"values":[]}]}}', 1],
  ['{"status":"success","data":{"result":[{"metric":null}]}}', 1],
  ['{"status":"success","data":{"result":[{"metric":{"__name__":"istio_requests_total","a":1},"value":[1,"1"]}]}}', 1],
  ["", 0],
])("%s is unread, not believed", (text, unread) => {
  expect(istioMtlsPairs(text, 0)).toEqual({ pairs: [], unread });
});
