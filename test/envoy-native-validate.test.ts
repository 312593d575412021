import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { renderSecret } from "../src/gateway/envoy/render.ts";
import { runtime } from "../src/gateway/envoy/render-listener.ts";
import { makeAuthority } from "./envoy-native-certificates.ts";
import { validateEnvoy } from "./real-envoy.ts";

/** Every rendered golden is a configuration that a real Envoy takes; fragments within one that somebody else wrote. */
const folder = new URL("../src/gateway/envoy/testdata/render/", import.meta.url);
const names = readdirSync(folder);
const own = await (await makeAuthority()).issue("spiffe://acme.example/gateway/edge-1");

/** Files by name, as the golden holds them. */
function filesOf(name: string): ReadonlyMap<string, string> {
  const [, golden = ""] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  const parts = golden.split(/^===== (\S+)(?: \d+)?\n/m).slice(1);
  return new Map(parts.flatMap((part, at) => (at % 2 === 0 ? [[part, parts[at + 1] ?? ""] as const] : [])));
}

/** Files that Envoy reads lie in the run's folder. */
const moved = (value: unknown, directory: string): Record<string, unknown> =>
  JSON.parse(
    JSON.stringify(value)
      .replaceAll("/etc/envoy/wayleave", directory)
      .replaceAll("/var/log/envoy", directory)
      .replaceAll(/\/etc\/ssl\/[\w./-]+/g, `${directory}/certificates.pem`),
  );

const type = (name: string) => `type.googleapis.com/envoy.extensions.${name}`;

/** An existing configuration around the pieces. */
function around(files: ReadonlyMap<string, string>): object {
  const piece = (name: string) => parse(files.get(`wayleave-${name}.yaml`) ?? "");
  const targets = ["target_billing", "target_review"].filter((name) =>
    files.get("wayleave-virtual-hosts.yaml")?.includes(name),
  );
  const upstreams = targets.map((name) => ({
    name,
    load_assignment: {
      cluster_name: name,
      endpoints: [
        { lb_endpoints: [{ endpoint: { address: { socket_address: { address: "127.0.0.1", port_value: 1 } } } }] },
      ],
    },
  }));
  const manager = {
    "@type": type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: "theirs",
    access_log: piece("access-log"),
    http_filters: piece("http-filters"),
    route_config: { name: "theirs", virtual_hosts: piece("virtual-hosts") },
  };
  return {
    layered_runtime: { layers: [{ name: "theirs", static_layer: runtime }] },
    static_resources: {
      clusters: [...piece("clusters"), ...upstreams],
      listeners: [
        {
          name: "theirs",
          address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
          filter_chains: [
            { filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: manager }] },
          ],
        },
      ],
    },
  };
}

test("there are goldens of both kinds", () => {
  expect(names.length).toBeGreaterThanOrEqual(6);
  expect(names.some((name) => filesOf(name).has("wayleave-http-filters.yaml"))).toBe(true);
});

test.each(names)("%s", (name) => {
  const files = filesOf(name);
  const whole = files.get("envoy.yaml");
  const { ok, output } = validateEnvoy({
    config: (directory) => moved(whole === undefined ? around(files) : parse(whole), directory),
    files: (directory) => [
      { path: "certificates.pem", text: `${own.cert}${own.key}` },
      ...[...files].map(([path, text]) => ({ path, text: text.replaceAll("/etc/envoy/wayleave", directory) })),
      renderSecret("secret-of-the-test-only"),
    ],
  });
  expect(output).toContain("OK");
  // Nothing that Envoy means to give up.
  expect(output).not.toMatch(/deprecated/i);
  expect(ok).toBe(true);
});
