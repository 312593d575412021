import { Agent } from "undici";
import { afterEach, describe, expect, test } from "vitest";
import type { Transport } from "./envoy-discovery-envoy.ts";
import { counter, type Lab, startLab } from "./envoy-discovery-lab.ts";

const transports: readonly Transport[] = ["delta", "sotw", "rest", "file"];
/** For what must run out while a test watches. */
const shortMs = 1_500;
let lab: Lab | undefined;

afterEach(async () => {
  await lab?.stop();
  lab = undefined;
});

async function start(transport: Transport, ttlMs = 15_000): Promise<Lab> {
  lab = await startLab(transport, ttlMs);
  return lab;
}

/** One connection, and how often it had to be opened. */
function oneConnection(): { readonly agent: Agent; opened(): number } {
  let opened = 0;
  const agent = new Agent({ connections: 1, pipelining: 1 });
  agent.on("connect", () => opened++);
  return { agent, opened: () => opened };
}

describe.each(transports)("a real Envoy that follows by %s", (transport) => {
  test("an end reaches it while it runs: no drain, and others go on over the same connection", async () => {
    const { call, end, until, token, envoy } = await start(transport);
    const [ended, other] = [await token("ses_a"), await token("ses_b")];
    const { agent, opened } = oneConnection();
    expect([await call(ended, agent), await call(other, agent)]).toEqual([200, 200]);
    end("ses_a");
    await until(ended, 403);
    expect([await call(ended, agent), await call(other, agent)]).toEqual([403, 200]);
    expect(opened()).toBe(1);
    expect(await counter(envoy, "listener_modified|drain_close|update_rejected")).toBe(0);
    await agent.close();
  });

  test("the broker dies: served until what it said runs out, then refused; back again: served, and the end still stands", async () => {
    const { call, end, until, token, kill, revive } = await start(transport, shortMs);
    const [ended, other] = [await token("ses_a"), await token("ses_b")];
    end("ses_a");
    await until(ended, 403);
    await kill();
    const died = performance.now();
    expect(await call(other)).toBe(200);
    await until(other, 403);
    expect(performance.now() - died).toBeLessThan(shortMs + 500);
    await revive();
    await until(other, 200);
    expect(await call(ended)).toBe(403);
  });

  test("while nothing changes, it is told so again and goes on serving", async () => {
    const { call, token, broker, envoy } = await start(transport, shortMs);
    const other = await token("ses_b");
    const end = performance.now() + 2 * shortMs;
    while (performance.now() < end) expect(await call(other)).toBe(200);
    expect(await counter(envoy, "extension_config_discovery.*config_reload$")).toBeGreaterThanOrEqual(3);
    expect(broker.events).toEqual([]);
  });

  test("a revoked token is refused, and another of the same session is not", async () => {
    const { call, revoke, until, token } = await start(transport);
    const [revoked, other] = [await token("ses_a", "jti-1"), await token("ses_a", "jti-2")];
    expect(await call(revoked)).toBe(200);
    revoke("jti-1");
    await until(revoked, 403);
    expect(await call(other)).toBe(200);
  });

  test("a revoked key is refused whatever it signed, and with no live key nothing is served", async () => {
    const { keys, until, token } = await start(transport);
    const mine = await token("ses_a");
    keys("kid-2");
    await until(mine, 403);
    keys("kid-1", "kid-2");
    await until(mine, 200);
    keys();
    await until(mine, 403);
  });

  test("what it cannot take it refuses: it stays with the last good state, and with none once that runs out", async () => {
    const { call, end, spoil, until, token, envoy } = await start(transport, shortMs);
    const [ended, other] = [await token("ses_a"), await token("ses_b")];
    end("ses_a");
    await until(ended, 403);
    spoil(true);
    expect(await call(other)).toBe(200);
    await until(other, 403);
    expect(await call(ended)).toBe(403);
    expect(await counter(envoy, "extension_config_discovery.*(config_fail|update_rejected)")).toBeGreaterThan(0);
    spoil(false);
    await until(other, 200);
    expect(await call(ended)).toBe(403);
  });

  test("sessions end while 64 connections are busy: each is refused at its next request, the others never", async () => {
    const { call, end, until, token } = await start(transport);
    const clients = await Promise.all(
      Array.from({ length: 64 }, async (_, at) => ({
        session: `ses_${at}`,
        token: await token(`ses_${at}`),
        ends: at % 2 === 0,
        connection: oneConnection(),
        statuses: [] as number[],
      })),
    );
    let stop = false;
    const busy = clients.map(async (client) => {
      while (!stop) client.statuses.push(await call(client.token, client.connection.agent));
    });
    await Promise.all(clients.map((client) => until(client.token, 200)));
    const ending = clients.filter((client) => client.ends);
    for (let at = 0; at < ending.length; at += 4) {
      const together = ending.slice(at, at + 4);
      for (const { session } of together) end(session);
      await Promise.all(together.map((client) => until(client.token, 403)));
    }
    stop = true;
    await Promise.all(busy);
    for (const { ends, statuses, connection } of clients) {
      // Served, and from its end on never again.
      expect(statuses.join("")).toMatch(ends ? /^(200)*(403)+$/ : /^(200)+$/);
      expect(connection.opened()).toBe(1);
      await connection.agent.close();
    }
  });
});

describe("what is heard of it", () => {
  test.each([["delta"], ["sotw"], ["rest"]] as const)(
    "by %s: its policy, and the versions it took",
    async (transport) => {
      const { call, end, until, token, broker } = await start(transport);
      const ended = await token("ses_a");
      expect(await call(ended)).toBe(200);
      end("ses_a");
      await until(ended, 403);
      await until(await token("ses_b"), 200);
      if (transport !== "rest") expect(broker.seen[0]).toBe(`connected envoy-${transport} p1`);
      await expect.poll(() => broker.seen).toContain("took run1.2");
    },
  );

  test.each([["delta"], ["sotw"]] as const)(
    "by %s: why it refused what it was sent, and that it is gone",
    async (transport) => {
      const { spoil, broker, stop } = await start(transport);
      spoil(true);
      await expect.poll(() => broker.seen.filter((line) => line.startsWith("refused"))).toHaveLength(1);
      expect(broker.seen.at(-1)).toMatch(/^refused run1\.2: .*Matchers/s);
      await stop();
      lab = undefined;
      expect(broker.seen.at(-1)).toBe(`gone envoy-${transport}`);
    },
  );

  test.each(["delta", "sotw", "rest"] as const)(
    "by %s with a wrong secret: nothing is served, and there is a record",
    async (transport) => {
      lab = await startLab(transport, 15_000, "a-guess");
      expect(await lab.call(await lab.token("ses_a"))).toBe(403);
      expect(lab.broker.seen).toEqual([]);
      expect(lab.broker.events[0]).toMatchObject({
        kind: "gateway.refused",
        data: { code: "gateway_unauthenticated" },
      });
      expect(lab.broker.events.length).toBeLessThanOrEqual(10);
    },
  );
});
