import { describe, expect, test } from "vitest";
import { load, problems, smallest } from "./load.fake.ts";

const gateway = (more: string) =>
  `${smallest}gateways:\n  - { name: bus, kind: nats, targets: [events], servers: ["nats://127.0.0.1:4333"]${more} }\n`;
const issuer = (more: string) => smallest.replace("type: gitlab }", `type: gitlab, ${more} }`);

test("a NATS gateway gets its defaults, and needs no secret inside serve", () => {
  const loaded = load(gateway(""));
  expect("config" in loaded && loaded.config.gateways[0]).toEqual({
    name: "bus",
    kind: "nats",
    targets: ["events"],
    secret: "",
    brokerUrl: "http://127.0.0.1:8700",
    listen: { host: "127.0.0.1", port: 4222 },
    servers: [{ host: "127.0.0.1", port: 4333, tls: false }],
    authentication: "operator",
    direct: false,
    standalone: false,
  });
});

describe("refused is", () => {
  test.each([
    { what: "a socket in the open without TLS", more: ', listen: "10.0.0.1:4222"', code: "plain_nats" },
    { what: "every address, where jobs are told none", more: ', listen: "0.0.0.0:4222"', code: "public_url_missing" },
    { what: "TLS told to jobs, and none served", more: ', public_url: "tls://nats.acme:4222"', code: "public_url_tls" },
    { what: "a public URL of HTTP", more: ', public_url: "https://nats.acme"', code: "invalid_value" },
    { what: "a process of its own without a secret", more: ", standalone: true", code: "secret_missing" },
    { what: "another way to know accounts", more: ", authentication: password", code: "invalid_value" },
    { what: "an Envoy's setting", more: ", revocation: grpc", code: "unknown_key" },
  ])("$what", ({ more, code }) => {
    expect(problems(gateway(more)).join("\n")).toContain(code);
  });

  test.each([
    {
      what: "a GitLab token that would be good for all projects",
      more: "start: { token_file: edge.secret }",
      code: "start_token_misplaced",
    },
    {
      what: "a project without its trigger token",
      more: "start: { projects: { acme/deploy: {} } }",
      code: "secret_missing",
    },
    {
      what: "a literal token",
      more: 'start: { projects: { acme/deploy: { token: "glptt-1" } } }',
      code: "literal_secret",
    },
  ])("$what", ({ more, code }) => {
    expect(problems(issuer(more)).join("\n")).toContain(code);
  });
});

test("trigger tokens are read, each for its project", () => {
  const loaded = load(issuer("start: { projects: { acme/deploy: { token_file: edge.secret } } }"));
  expect("config" in loaded && loaded.config.issuers[0]?.start).toEqual({
    projects: { "acme/deploy": "s3cret-of-edge" },
  });
});
