import { afterEach, expect, test } from "vitest";
import type { Config, EnvoyGatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { refusalsName } from "../gateway/envoy/refusals.ts";
import { identity } from "../session/harness.fake.ts";
import { SessionTable } from "../session/table.ts";
import { connectGatewayFeed, type GatewayFeed } from "./gateway-feed.ts";

const start = Date.parse("2026-11-24T09:30:00Z");
const envoy = (name: string, more: Partial<EnvoyGatewayConfig> = {}): EnvoyGatewayConfig => ({
  name,
  kind: "envoy",
  mode: "native",
  targets: ["billing"],
  secret: `secret of ${name}`,
  brokerUrl: "http://127.0.0.1:8700",
  protocol: "grpc",
  revocation: "rest",
  revocationTtlMs: 15_000,
  keyCacheMs: 60_000,
  behind: [],
  listen: { host: "127.0.0.1", port: 10_000 },
  upstreams: {},
  ...more,
});

let feed: GatewayFeed | undefined;
afterEach(() => feed?.close());

function ring(...kids: string[]) {
  const listeners = new Set<() => void>();
  return {
    liveKids: () => kids,
    onChange(listener: () => void) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    replace(...next: string[]) {
      kids = next;
      for (const listener of listeners) listener();
    },
    listeners,
  };
}

function world(note: (event: AuditEvent) => string = () => "rec") {
  const clock = { now: () => start, monotonic: () => 0 };
  const table = new SessionTable(clock.monotonic);
  const faults: unknown[] = [];
  const keys = { accessToken: ring("at-1"), assertion: ring("as-1") };
  let seq = 0;
  const apply = (event: AuditEvent) =>
    table.apply({
      ...event,
      v: 1,
      id: "rec_test00000001",
      seq: ++seq,
      time: new Date(start).toISOString(),
    } as AuditRecord);
  const config = {
    sessions: { tokenTtlMs: 300_000 },
    gateways: [envoy("inner"), envoy("behind", { behind: ["inner"] })],
  } as unknown as Config;
  feed = connectGatewayFeed({
    config,
    clock,
    table,
    recorder: { note },
    keys,
    policy: () => "p1",
    onFault: (error) => faults.push(error),
  });
  const { discovery } = feed;
  const poll = (gateway: string, secret = `secret of ${gateway}`, version = "") =>
    discovery.rest(
      new Map([
        ["x-wayleave-gateway", gateway],
        ["x-wayleave-gateway-secret", secret],
      ]),
      { node: { id: "envoy-1" }, resource_names: [refusalsName("p1")], version_info: version },
    ).body;
  return {
    apply,
    table,
    keys,
    faults,
    poll,
    text: (gateway: string) => JSON.stringify(poll(gateway)),
    open: (id: string) =>
      apply({
        kind: "session.opened",
        session: id,
        data: {
          identity: identity(id),
          hard_end_at: start + 3_600_000,
          replay_key: id,
          replay_until: start,
          refresh_hash: id,
          roles: [],
          policy: "p1",
          token: "fp",
        },
      }),
  };
}

test("an end in memory is in the next answer, and so are a suspension and a revocation", () => {
  const w = world();
  for (const id of ["ses_a", "ses_b"]) w.open(id);
  expect(w.text("inner")).not.toContain("ses_");
  w.table.end(w.table.find("ses_a")!, "operator", start);
  expect(w.text("inner")).toContain("ses_a");
  w.table.suspend(w.table.find("ses_b")!, "lease_missed", true);
  expect(w.text("inner")).toContain("ses_b");
  w.table.suspend(w.table.find("ses_b")!, "lease_missed", false);
  expect(w.text("inner")).not.toContain("ses_b");
  w.apply({ kind: "credential.revoked", data: { jti: "jti-1", until: start + 1_000 } });
  expect(w.text("inner")).toContain("jti-1");
});

test("a gateway is told the keys of what it verifies, at once when they change", () => {
  const w = world();
  expect(w.text("inner")).toMatch(/at-1/);
  expect(w.text("inner")).not.toMatch(/as-1/);
  expect(w.text("behind")).toMatch(/as-1/);
  expect(w.text("behind")).not.toMatch(/at-1/);
  w.keys.accessToken.replace("at-2");
  expect(w.text("inner")).toMatch(/at-2/);
  expect(w.text("inner")).not.toMatch(/at-1/);
});

test("what an answer says lasts as long as the configuration says, and no longer", () => {
  expect(world().text("inner")).toContain(new Date(start + 15_000).toISOString());
});

test("what a gateway acknowledges is in the list", () => {
  const w = world();
  const version = w.poll("inner")?.version_info ?? "";
  expect(w.poll("inner", undefined, version)).toBeUndefined();
  expect(feed?.reports.list()[0]).toMatchObject({ name: "inner", policy: "current", acknowledged_seconds: 0 });
});

test("another's secret gets nothing, and while nothing can be recorded the ends still go out", () => {
  const w = world(() => {
    throw new WayleaveError("journal_unavailable", "The disk is full.");
  });
  expect(() => w.poll("inner", "secret of behind")).toThrow("No gateway of this name has this secret");
  expect(w.faults).toHaveLength(1);
  w.open("ses_a");
  w.table.end(w.table.find("ses_a")!, "operator", start);
  expect(w.text("inner")).toContain("ses_a");
});

test("closed, it listens to nothing any more", () => {
  const w = world();
  feed?.close();
  expect([w.keys.accessToken.listeners.size, w.keys.assertion.listeners.size]).toEqual([0, 0]);
});
