import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { jetstreamManager } from "@nats-io/jetstream";
import { expect, test } from "vitest";
import { gatewayLab } from "./nats-gateway-lab.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));

test("an unmodified Python client does all of it, and is told why it may not do the rest", async () => {
  const allow = ["pub build.>", "sub build.>", "sub svc.>", "req svc.>", "pub event.>", "pull EVENTS.puller"];
  const lab = await gatewayLab({ a: { password: "a", allow } });
  const manager = await jetstreamManager(await lab.service());
  await manager.streams.add({ name: "EVENTS", subjects: ["event.>"] });
  await manager.consumers.add("EVENTS", { durable_name: "puller", ack_policy: "explicit" });
  const script = fileURLToPath(new URL("nats-gateway-client.py", import.meta.url));
  const { stdout } = await run("python3", [script, `nats://127.0.0.1:${lab.port}`, "a"], {
    env: { ...process.env, PYTHONPATH: `${root}/.cache/test-clients` },
    timeout: 50_000,
  });
  const said = JSON.parse(stdout) as { told: readonly string[] };
  expect(said).toMatchObject({
    received: [
      ["build.plain", "one", ""],
      ["build.header", "two", "kept"],
    ],
    reply: "hello!",
    old_reply: "old!",
    seq: 1,
    fetched: "stored",
    connected: true,
  });
  expect(said.told).toHaveLength(1);
  expect(said.told[0]).toContain('permissions violation for publish to "no.right": no role of this job allows');
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  const [end] = lab.authority.of("nats.disconnected");
  expect(end?.server?.received).toEqual(end?.published);
  expect(lab.authority.of("nats.mismatch")).toEqual([]);
  expect(lab.faults).toEqual([]);
});
