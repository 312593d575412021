import { expect, test } from "vitest";
import { linkerdMtlsPairs } from "./mtls-series.ts";

const line = (parts: Readonly<Record<string, string>>, value: number) => {
  const labels = {
    direction: "inbound",
    tls: "true",
    client_id: "release.ci.serviceaccount.identity.linkerd.cluster.local",
    namespace: "bank",
    deployment: "ledger",
    serviceaccount: "ledger",
    ...parts,
  };
  return `request_total{${Object.entries(labels)
    .map(([name, text]) => `${name}="${text}"`)
    .join(",")}} ${value}\n`;
};

test("identities as SPIFFE IDs, and how often", () => {
  const text =
    line({ status_code: "200" }, 2) +
    line({ status_code: "403" }, 1) +
    line({ client_id: "spiffe://acme.example/vm/7" }, 1);
  const ledger = { workload: "bank/ledger", mtls: true, firstAt: 9, lastAt: 9 };
  expect(linkerdMtlsPairs(text, 9).pairs).toEqual([
    {
      ...ledger,
      caller: "spiffe://acme.example/vm/7",
      service: "spiffe://acme.example/ns/bank/sa/ledger",
      requests: 1,
    },
    {
      ...ledger,
      caller: "spiffe://cluster.local/ns/ci/sa/release",
      service: "spiffe://cluster.local/ns/bank/sa/ledger",
      requests: 3,
    },
  ]);
});

test.each<{ what: string; parts: Record<string, string>; pairs: number }>([
  { what: "no TLS", parts: { tls: "no_identity" }, pairs: 1 },
  { what: "no client identity", parts: { client_id: "" }, pairs: 1 },
  { what: "an identity of another form", parts: { client_id: "release.ci.example" }, pairs: 1 },
  { what: "the calling side", parts: { direction: "outbound" }, pairs: 0 },
])("$what is no evidence of mutual TLS", ({ parts, pairs }) => {
  const found = linkerdMtlsPairs(line(parts, 1), 9).pairs;
  expect(found.map(({ mtls, caller }) => [mtls, caller])).toEqual(pairs === 0 ? [] : [[false, undefined]]);
});
