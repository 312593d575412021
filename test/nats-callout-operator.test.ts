import { expect, test } from "vitest";
import { labGrant, startLab } from "./nats-callout-lab.ts";

test("signing keys rotate with clients connected, and a revoked one closes whom it let in", async () => {
  const lab = await startLab("operator");
  await lab.answer();
  const { chain } = lab.keys;
  const first = await lab.connect();

  await chain.prepare();
  await lab.push();
  await chain.activate();
  await lab.push();
  const second = await lab.connect();
  expect([first.outcome, second.outcome]).toEqual(["PONG", "PONG"]);
  expect((await first.ask("")).at(-1)).toBe("PONG"); // the old key retires, and whom it let in stays

  const [old] = chain.list();
  await chain.revoke(old?.kid ?? "", "a test");
  await lab.push();
  expect(await first.next(/never/)).not.toContain("PONG"); // closed
  expect((await second.ask("")).at(-1)).toBe("PONG");
  expect((await lab.connect()).outcome).toBe("PONG");
});

test("a key that the server does not know lets nobody in until it is pushed", async () => {
  const lab = await startLab("operator");
  await lab.answer();
  await lab.keys.chain.revoke(lab.keys.chain.ring.kid, "a test");
  expect((await lab.connect()).outcome).toBe("-ERR 'Authorization Violation'");
  await lab.push();
  expect((await lab.connect()).outcome).toBe("PONG");
});

test("behind a proxied sentinel, who comes past the gateway dies at once and nobody is asked", async () => {
  const lab = await startLab("operator", { sentinelProxied: true });
  const { responder } = await lab.answer();
  const bare = await lab.connect((info) => ({ auth_token: lab.ticket(info) }));
  expect(bare.outcome).toMatch(/^-ERR/);
  expect(bare.ms).toBeLessThan(1_500);
  expect(responder.counts()).toEqual({ admitted: 0, refused: 0, dropped: {}, pending: 0 });
  expect((await lab.connect()).outcome).toBe("PONG");
});

test("a reload disconnects nobody whose session lives, and everybody else", async () => {
  const lab = await startLab("operator");
  let over = 0;
  const reloaded = Promise.withResolvers<void>();
  const asked = new Set<number>();
  const { responder } = await lab.answer({
    grantOfOpen(serverId, cid) {
      asked.add(cid);
      if (asked.size === 2) reloaded.resolve();
      return serverId === living.info.server_id && cid !== over ? { ...labGrant(), mode: "gateway" } : undefined;
    },
  });
  const living = await lab.connect();
  const ended = await lab.connect();
  over = ended.info.client_id;
  await living.ask("SUB deploy.events.* workers 1\r\n");
  process.kill(lab.server.pid, "SIGHUP");
  await reloaded.promise;
  expect(await ended.next(/never/)).toContain("-ERR 'Authorization Violation'");
  expect(await living.ask("PUB build.status.7.ok 0\r\n\r\n")).toEqual(["PONG"]);
  expect(await living.ask("PUB build.status.8.ok 0\r\n\r\n")).toEqual([
    expect.stringContaining("Permissions Violation"),
    "PONG",
  ]);
  const { subscriptions_list: list } = (await lab.connection(living.info.client_id, "subs=1")) ?? {};
  expect(list).toEqual(["deploy.events.*"]);
  expect(responder.counts()).toMatchObject({ admitted: 3, refused: 1 });
});

test("the responder comes back with its connection", async () => {
  const lab = await startLab("operator");
  const { connection, responder } = await lab.answer();
  const back = (async () => {
    for await (const { type } of connection.status()) if (type === "reconnect") return;
  })();
  const seen: boolean[] = [];
  const away = (async () => {
    for await (const { type } of connection.status()) {
      if (type !== "disconnect") continue;
      seen.push(responder.health().answering);
      return;
    }
  })();
  await connection.reconnect();
  await Promise.all([away, back]);
  await connection.flush();
  expect(responder.health()).toMatchObject({ answering: true });
  expect((await lab.connect()).outcome).toBe("PONG");
});
