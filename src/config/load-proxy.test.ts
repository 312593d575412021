import { describe, expect, test } from "vitest";
import { load, problems, smallest } from "./load.fake.ts";

const proxy = (more = "", upstream = "url: http://127.0.0.1:9000") =>
  `${smallest}gateways:\n  - { name: front, kind: proxy, targets: [billing], upstreams: { billing: { ${upstream} } }${more} }\n`;

const gatewayOf = (text: string) => {
  const loaded = load(text);
  if (!("config" in loaded)) throw new TypeError(JSON.stringify(loaded));
  return loaded.config.gateways[0];
};

describe("a gateway of kind proxy", () => {
  test("gets its defaults, and needs no secret", () => {
    expect(gatewayOf(proxy())).toEqual({
      name: "front",
      kind: "proxy",
      targets: ["billing"],
      secret: "",
      brokerUrl: "http://127.0.0.1:8700",
      listen: { host: "127.0.0.1", port: 8780 },
      upstreams: { billing: { host: "127.0.0.1", port: 9000, protocol: "http1", credentialHeader: "authorization" } },
      limits: { connectMs: 5_000, answerMs: 60_000, exchangeMs: 300_000, maxBytes: 67_108_864, drainMs: 10_000 },
    });
  });

  test.each([
    ["url: https://b:1", { protocol: "http1", tls: {} }],
    ["url: h2c://b:1", { protocol: "http2" }],
    ["url: h2://b:1, server_name: c", { protocol: "http2", tls: { serverName: "c" } }],
    ["url: https://b:1, credential_header: X-Job", { credentialHeader: "x-job" }],
    [
      "url: https://b:1, upstream_auth: { key_file: edge.secret }",
      { auth: { header: "authorization", value: "Bearer s3cret-of-edge" } },
    ],
    [
      "url: https://b:1, upstream_auth: { header: X-Api-Key, key_file: edge.secret }",
      { auth: { header: "x-api-key", value: "s3cret-of-edge" } },
    ],
    [
      "url: http://127.0.0.1:1, upstream_auth: { scheme: Token, key_file: edge.secret }",
      { auth: { header: "authorization", value: "Token s3cret-of-edge" } },
    ],
  ])("{ %s }", (upstream, expected) => {
    expect(gatewayOf(proxy("", upstream))).toMatchObject({ upstreams: { billing: expected } });
  });

  test.each([
    ["url: ftp://b:1", "invalid_value"],
    ["url: http://b", "invalid_value"],
    ["url: http://b:1/path", "invalid_value"],
    ["url: http://user@b:1", "invalid_value"],
    ["url: http://b:1, host: Billing", "invalid_value"],
    ["url: http://b:1, credential_header: Host", "invalid_value"],
    ["url: http://b:1, credential_header: Content-Length", "invalid_value"],
    ["url: http://b:1, credential_header: X-Wayleave-Session", "invalid_value"],
    ["url: http://b:1, credential_header: 'X: y'", "invalid_value"],
    ["url: http://b:1, ca_file: edge.secret", "upstream_plain"],
    ["url: http://b:1, spiffe_id: 'spiffe://a.example/b'", "upstream_plain"],
    ["url: https://b:1, spiffe_id: 'spiffe://a.example/b'", "missing_key"],
    ["url: https://b:1, upstream_auth: {}", "secret_missing"],
    ["url: https://b:1, upstream_auth: { key_file: edge.secret, key: '${KEY}' }", "conflicting_keys"],
    ["url: https://b:1, upstream_auth: { key: literal }", "literal_secret"],
    ["url: http://b:1, upstream_auth: { key_file: edge.secret }", "upstream_auth_plain"],
    ["url: https://b:1, unknown: 1", "unknown_key"],
  ])("{ %s }: %s", (upstream, code) => {
    expect(problems(proxy("", upstream)).join()).toContain(code);
  });

  test.each([
    [', listen: "10.0.0.1:8780"', "plain_proxy"],
    [", listen: nowhere", "invalid_value"],
    [", max_body: 0", "invalid_value"],
    [", drain_timeout: 1d", "invalid_value"],
    [", exchange_timeout: 2h", "invalid_value"],
    [", njs: true", "unknown_key"],
  ])("%s: %s", (more, code) => {
    expect(problems(proxy(more)).join()).toContain(code);
  });

  test("an upstream of no target of its is a mistake", () => {
    expect(problems(proxy().replace("targets: [billing]", "targets: [ledger]")).join()).toContain("unknown_upstream");
  });
});
