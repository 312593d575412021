import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { GatewaySummary } from "../gateway/gateway-summary.ts";
import { Input } from "./command.ts";
import { gatewayList } from "./gateway-list.ts";
import { fakeIo } from "./job/command-io.fake.ts";

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});

const now = Date.parse("2026-11-24T09:30:00Z");
const heard = (secondsAgo: number) => ({ last_heard: new Date(now - secondsAgo * 1000).toISOString() });
const inner: GatewaySummary = {
  name: "inner",
  kind: "envoy",
  mode: "native",
  targets: ["billing", "ledger", "events", "review"],
  policy: "older",
  ...heard(2),
  acknowledged_seconds: 1,
  nodes: [],
  notes: ["rendered from an older policy; render it again"],
};
const edge: GatewaySummary = {
  name: "edge-1",
  kind: "nginx",
  mode: "call_out",
  targets: ["billing"],
  policy: "current",
  ...heard(7200),
  nodes: [],
  notes: [],
};

/** A broker's operator socket that knows these gateways. */
async function listed(gateways: readonly GatewaySummary[], options: Readonly<Record<string, unknown>> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "wl-"));
  const answer = { policy: "p2", gateways };
  const server = createServer((request, response) => {
    response.writeHead(request.url === "/v1/gateways" ? 200 : 404, { "content-type": "application/json" });
    response.end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(join(folder, "admin.sock"), resolve));
  closing.push(() => new Promise((resolve) => server.close(() => resolve())));
  const config = join(folder, "wayleave.yaml");
  writeFileSync(config, "data: .\n");
  const io = { ...fakeIo(), now: () => now };
  const status = await gatewayList.run(io, new Input([], { config, ...options }));
  return { status, out: io.out(), answer };
}

test("prints one aligned line for each gateway, and below what a person should do", async () => {
  const { status, out } = await listed([edge, inner]);
  expect(status).toBe(0);
  expect(out.split("\n")).toEqual([
    "name    kind   mode      targets                   policy   last heard   ended sessions",
    "edge-1  nginx  call-out  billing                   current  2 hours ago  -",
    "inner   envoy  native    billing,ledger,events +1  older    2 s ago      1 s ago",
    "",
    "  inner      rendered from an older policy; render it again",
    "",
  ]);
});

test("says never where a gateway was not heard", async () => {
  const { last_heard: _, ...silent } = edge;
  expect((await listed([{ ...silent, policy: "unknown" }])).out).toMatch(/unknown +never +-\n$/);
});

test("with --json prints what the broker says", async () => {
  const { out, answer } = await listed([inner], { json: true });
  expect(JSON.parse(out)).toEqual(answer);
});

test("no gateways are said to be none", async () => {
  expect((await listed([])).out).toBe("no gateways: list them under `gateways` in the configuration\n");
});

test("what a gateway says of itself does not steer the terminal", async () => {
  const { out } = await listed([{ ...inner, notes: ["refuses what it is sent: \u001b[2J\nwayleave: all is well"] }]);
  expect(out).not.toContain("\u001b");
  expect(out.split("\n").filter((line) => line.startsWith("wayleave:"))).toEqual([]);
});

test("no broker is an outage", async () => {
  const folder = mkdtempSync(join(tmpdir(), "wl-"));
  writeFileSync(join(folder, "wayleave.yaml"), "data: .\n");
  const run = gatewayList.run(fakeIo(), new Input([], { config: join(folder, "wayleave.yaml") }));
  await expect(run).rejects.toMatchObject({ code: "broker_unreachable" });
});
