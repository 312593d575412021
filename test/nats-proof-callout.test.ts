import { describe, expect, onTestFinished, test } from "vitest";
import { natsCalloutKeys } from "../src/credential/nats-callout-keys.ts";
import { type CalloutRequest, readCalloutRequest } from "../src/gateway/nats/callout-request.ts";
import { type Connz, identitiesOf, monitored } from "./nats-proof-admin.ts";
import { type AttackLab, startAttackLab } from "./nats-proof-attack-lab.ts";
import { tapServer } from "./nats-proof-tap.ts";
import { until } from "./nats-proof-world.ts";

/** The responder behind the gateway: away, slow, or contradicted by another. */
describe.each(["operator", "config"] as const)("in %s mode", { timeout: 90_000 }, (mode) => {
  const start = async () => {
    const lab = await startAttackLab({ mode });
    onTestFinished(lab.close); // last of all
    return lab;
  };

  const newcomer = async (lab: AttackLab) => {
    const job = await lab.proof.startJob("acme/shop");
    return job.connect().then(
      async (client) => {
        await client.flush();
        await client.close();
        return "let in";
      },
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
  };

  test("a responder that is away: who is in stays, who comes is refused with the reason, and nobody is let in instead", async () => {
    const lab = await start();
    const tap = await tapServer(lab.proof.world);
    onTestFinished(tap.close);
    const job = await lab.proof.startJob("acme/shop");
    const client = await job.connect();
    const release = tap.hold("wayleave-callout");
    const why = await newcomer(lab);
    expect(why).toMatch(
      /^Gateway Unavailable: nats-server (refused the gateway.s ticket: its auth callout is away|waited too long)/,
    );
    await lab.records.until("nats.refused", ({ data }) => data.code === "broker_unreachable");
    client.publish("build.status.1042.still", "here");
    await client.flush();
    await until(async () => (await lab.witnessed()).some(({ subject }) => subject === "build.status.1042.still"));
    expect(await jobsAtServer(lab)).toBe(1);
    release();
    expect(await newcomer(lab)).toBe("let in");
    await client.close();
  });

  test("a slow responder: the client is told why before it gives up by itself, and let in when it comes again", async () => {
    const lab = await start();
    const tap = await tapServer(lab.proof.world);
    onTestFinished(tap.close);
    const release = tap.hold("wayleave-callout");
    const waiting = newcomer(lab);
    await lab.records.until("nats.refused", ({ data }) => data.code === "server_refused");
    expect(await waiting).toMatch(/^Gateway Unavailable: nats-server /);
    release();
    expect(await newcomer(lab)).toBe("let in");
  });

  test.each([
    ["in the queue group", "wayleave"],
    ["outside it", undefined],
  ])(
    "a second responder %s that says no to everybody: nobody gets other rights, and when it leaves all is as before",
    async (_, queue) => {
      const lab = await start();
      const stop = await contradict(lab, queue);
      // Whoever answers first is heard: a job is let in as itself, or not at all.
      do expect(await newcomer(lab)).toMatch(/^let in$|^Gateway Unavailable: nats-server refused/);
      while (stop.asked() === 0);
      await stop();
      expect(await newcomer(lab)).toBe("let in");
    },
  );

  test("a second responder without the keys, whatever it answers, lets nobody in", async () => {
    const lab = await start();
    const rogue = await lab.proof.admin.service();
    onTestFinished(() => rogue.close());
    let asked = 0;
    rogue.subscribe("$SYS.REQ.USER.AUTH", {
      callback: (_, message) => {
        asked++;
        message.respond("rubbish");
      },
    });
    await rogue.flush();
    expect(await newcomer(lab)).toMatch(/^let in$|^Gateway Unavailable: nats-server refused/);
    expect(asked).toBeGreaterThan(0);
    await rogue.close();
    expect(await newcomer(lab)).toBe("let in");
  });

  async function jobsAtServer(lab: AttackLab): Promise<number> {
    const { connections } = await monitored<Connz>(lab.proof.world, "connz?auth=1");
    return connections.filter(({ authorized_user: user = "" }) => user.startsWith("gitlab:")).length;
  }

  /** Another replica with the keys and another opinion. */
  async function contradict(lab: AttackLab, queue: string | undefined) {
    const keys = natsCalloutKeys(await identitiesOf(lab.proof.world), mode, { now: Date.now });
    const service = await lab.proof.admin.service();
    let asked = 0;
    service.subscribe("$SYS.REQ.USER.AUTH", {
      ...(queue === undefined ? {} : { queue }),
      callback: (_, message) => {
        asked++;
        const peer = message.headers?.get("Nats-Server-Xkey");
        const request = readCalloutRequest(keys, message.data, peer, Date.now());
        if (typeof request !== "string" && peer !== undefined) message.respond(refusal(keys, request, peer));
      },
    });
    await service.flush();
    return Object.assign(() => service.close(), { asked: () => asked });
  }
});

function refusal(keys: ReturnType<typeof natsCalloutKeys>, { userNkey, server }: CalloutRequest, peer: string) {
  const token = keys.signResponse({
    sub: userNkey,
    aud: server.id,
    nats: { type: "authorization_response", error: "no" },
  });
  return keys.xkey.seal(peer, Buffer.from(token, "latin1"));
}
