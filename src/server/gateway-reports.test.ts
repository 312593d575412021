import { describe, expect, test } from "vitest";
import type { EnvoyGatewayConfig, GatewayConfig } from "../config/config.ts";
import type { AuditEvent } from "../core/record.ts";
import { createGatewayReports } from "./gateway-reports.ts";

const start = Date.parse("2026-11-24T09:30:00Z");
const shared = { targets: ["billing"], secret: "s", brokerUrl: "http://127.0.0.1:8700" };
const envoy: EnvoyGatewayConfig = {
  ...shared,
  name: "inner",
  kind: "envoy",
  mode: "native",
  protocol: "grpc",
  revocation: "grpc",
  revocationTtlMs: 15_000,
  keyCacheMs: 60_000,
  behind: [],
  listen: { host: "127.0.0.1", port: 10_000 },
  upstreams: {},
};
const asking: GatewayConfig = { ...envoy, name: "asks", mode: "call_out" };
const nginx: GatewayConfig = { ...shared, name: "edge", kind: "nginx", cacheMs: 0, njs: false };
const mesh = { namespace: "shop", workloads: [], meshTrustDomain: "cluster.local" };
const linkerd: GatewayConfig = { ...shared, ...mesh, name: "mesh", kind: "linkerd" };

function world(gateways: readonly GatewayConfig[] = [envoy, asking, nginx, linkerd]) {
  let now = start;
  let policy = "p2";
  const events: AuditEvent[] = [];
  const reports = createGatewayReports({
    gateways,
    clock: { now: () => now, monotonic: () => now - start },
    policy: () => policy,
    note: (event) => events.push(event),
  });
  const node = (id = "envoy-1", version: string | undefined = "p2") => ({ gateway: "inner", id, policy: version });
  return {
    reports,
    watch: reports.watch,
    events,
    node,
    taken: (n = 1) => ({ version: `run.${n}`, madeAt: now }),
    pass: (ms: number) => {
      now += ms;
    },
    setPolicy: (next: string) => {
      policy = next;
    },
    inner: () => reports.list().find(({ name }) => name === "inner")!,
    of: (name: string) => reports.list().find((each) => each.name === name)!,
  };
}

describe("a gateway that follows", () => {
  test("is unknown and refuses everything before it was heard", () => {
    const w = world();
    expect(w.inner()).toMatchObject({
      policy: "unknown",
      nodes: [],
      notes: [expect.stringContaining("refuses everything")],
    });
    expect(w.inner()).not.toHaveProperty("last_heard");
    expect(w.inner()).not.toHaveProperty("acknowledged_seconds");
  });

  test("is current while it was rendered from the policy in force, and older from the moment another is", () => {
    const w = world();
    w.watch.connected(w.node());
    w.watch.heard(w.node(), w.taken());
    expect(w.inner()).toMatchObject({ policy: "current", acknowledged_seconds: 0, notes: [] });
    w.setPolicy("p3");
    expect(w.inner()).toMatchObject({ policy: "older", notes: ["rendered from an older policy; render it again"] });
  });

  test("is as far as the last of its nodes", () => {
    const w = world();
    for (const [id, version] of [
      ["a", "p2"],
      ["b", "p1"],
      ["c", "p2"],
    ] as const) {
      w.watch.connected(w.node(id, version));
      w.watch.heard(w.node(id, version), w.taken());
      w.pass(2_000);
    }
    expect(w.inner()).toMatchObject({
      policy: "older",
      acknowledged_seconds: 6,
      notes: ["1 of 3: rendered from an older policy; render it again"],
    });
  });

  test("is unknown where one of its nodes does not say what it was rendered from", () => {
    const w = world();
    w.watch.heard(w.node("a"), w.taken());
    w.watch.heard({ gateway: "inner", id: "b", policy: undefined }, w.taken());
    expect(w.inner().policy).toBe("unknown");
  });

  test("acknowledged nothing while one of its nodes has not", () => {
    const w = world();
    w.watch.heard(w.node("a"), w.taken());
    w.watch.heard(w.node("b"), undefined);
    expect(w.inner()).not.toHaveProperty("acknowledged_seconds");
  });

  test("that is no longer there is not in force, whatever it said", () => {
    const w = world();
    const gone = w.watch.connected(w.node());
    w.watch.heard(w.node(), w.taken());
    w.pass(3_600_000);
    expect(w.inner()).toMatchObject({ policy: "current", acknowledged_seconds: 3600 });
    gone();
    w.pass(15_001);
    expect(w.inner()).toMatchObject({ policy: "unknown", notes: [expect.stringContaining("no longer asks")] });
    expect(w.inner().nodes).toMatchObject([{ id: "envoy-1", connected: false }]);
    w.pass(24 * 3_600_000);
    expect(w.inner().nodes).toEqual([]);
  });

  test("that refuses what it is sent says why, until it takes something newer", () => {
    const w = world();
    w.watch.connected(w.node());
    w.watch.heard(w.node(), w.taken(1));
    w.watch.refused(w.node(), w.taken(2), "no such field");
    w.watch.heard(w.node(), { version: "run.1", madeAt: start }); // a poll says again what it has
    expect(w.inner()).toMatchObject({ notes: ["refuses what it is sent: no such field"] });
    w.watch.heard(w.node(), w.taken(3));
    expect(w.inner().notes).toEqual([]);
  });

  test("is recorded when it says something new, and only then", () => {
    const w = world();
    w.watch.connected(w.node());
    w.watch.heard(w.node(), undefined);
    expect(w.events).toEqual([]);
    for (let n = 1; n < 10; n++) w.watch.heard(w.node(), w.taken(n));
    w.watch.refused(w.node(), w.taken(10), "no");
    w.watch.refused(w.node(), w.taken(11), "no");
    w.watch.heard(w.node(), w.taken(12));
    w.watch.heard(w.node("envoy-1", "p3"), w.taken(13));
    expect(w.events.map(({ kind, data }) => [kind, data])).toEqual([
      ["gateway.reported", { gateway: "inner", node: "envoy-1", policy: "p2", accepted: true }],
      ["gateway.reported", { gateway: "inner", node: "envoy-1", policy: "p2", accepted: false, detail: "no" }],
      ["gateway.reported", { gateway: "inner", node: "envoy-1", policy: "p2", accepted: true }],
      ["gateway.reported", { gateway: "inner", node: "envoy-1", policy: "p3", accepted: true }],
    ]);
  });

  test("with endless names stays bounded, and what holds a stream is kept", () => {
    const w = world();
    w.watch.connected(w.node("first"));
    for (let at = 0; at < 3_000; at++) w.watch.heard(w.node(`n${at}`), undefined);
    expect(w.inner().nodes).toHaveLength(1024);
    expect(w.inner().nodes[0]?.id).toBe("first");
  });
});

describe("a gateway that asks", () => {
  test.each(["asks", "edge"])("%s is current once it asked, and says when", (name) => {
    const w = world();
    expect(w.of(name)).toMatchObject({ policy: "unknown", notes: ["has not asked since the broker started"] });
    w.reports.asked(name);
    w.setPolicy("p9");
    w.pass(5_000);
    expect(w.of(name)).toMatchObject({ policy: "current", last_heard: "2026-11-24T09:30:00.000Z", notes: [] });
  });

  test("a native one is not current because it asks about some routes", () => {
    const w = world();
    w.reports.asked("inner");
    expect(w.inner()).toMatchObject({ policy: "unknown", last_heard: "2026-11-24T09:30:00.000Z" });
  });

  test("a mesh that never reports is unknown, and that is said", () => {
    expect(world().of("mesh")).toMatchObject({
      mode: "native",
      policy: "unknown",
      notes: [expect.stringContaining("does not report")],
    });
  });

  test("a name that is no gateway's adds nothing", () => {
    const w = world();
    w.reports.asked("stranger");
    expect(w.reports.list().map(({ name }) => name)).toEqual(["inner", "asks", "edge", "mesh"]);
  });
});
