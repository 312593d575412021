import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../src/core/errors.ts";
import { createNkey } from "../src/credential/nats-nkey.ts";
import { fakeGrant } from "../src/gateway/nats/callout.fake.ts";
import type { CalloutAnswer } from "../src/gateway/nats/callout.ts";
import { mintTicket } from "../src/gateway/nats/ticket.ts";
import type { BareClient, ServerInfo } from "./nats-bare-client.ts";
import { type Lab, labGrant, type ServerMode, startLab } from "./nats-callout-lab.ts";

const refused = "-ERR 'Authorization Violation'";
const modes: readonly ServerMode[] = ["operator", "config"];

describe.each(modes)("%s mode", (mode) => {
  test("a live ticket: connected as the job, in its account, whatever the client calls itself", async () => {
    const lab = await startLab(mode);
    const { responder } = await lab.answer();
    const client = await lab.connect((info) => ({
      auth_token: lab.ticket(info),
      ...lab.proof(info),
      user: "boss",
      name: "boss",
    }));
    expect(client.outcome).toBe("PONG");
    const seen = await lab.connection(client.info.client_id);
    expect(seen).toMatchObject({ authorized_user: fakeGrant.name, proxy: { key: lab.keys.proxy.publicKey } });
    expect(seen?.account).toBe(mode === "operator" ? lab.keys.find("CI")?.publicKey : "CI");
    expect(responder.counts()).toMatchObject({ admitted: 1, refused: 0, dropped: {} });
    expect(responder.health()).toMatchObject({ answering: true });
  });

  test("the server itself holds the job to its subjects", async () => {
    const lab = await startLab(mode);
    const rights = { ...fakeGrant.rights, pull: [{ stream: "S", consumer: "C" }] };
    await lab.answer({ grantOf: () => labGrant({ rights }) });
    const job = await lab.connect();
    const publishes = [
      "build.status.7.ok",
      "svc.echo",
      "$JS.API.CONSUMER.MSG.NEXT.S.C",
      "$JS.ACK.S.C.1.1.1.1.0",
      "$JS.API.INFO",
    ];
    for (const subject of publishes) expect(await violations(job, `PUB ${subject} 0\r\n\r\n`), subject).toEqual([]);
    const subscriptions = ["_INBOX_0123456789abcdef.x.*", "deploy.events.* workers", "deploy.events.prod workers"];
    for (const [sid, subject] of subscriptions.entries())
      expect(await violations(job, `SUB ${subject} ${sid}\r\n`), subject).toEqual([]);
    const others = [
      "build.status.8.ok",
      "$JS.API.CONSUMER.MSG.NEXT.S.D",
      "$JS.API.CONSUMER.CREATE.S",
      "$SYS.REQ.USER.AUTH",
      "_INBOX_other.x",
    ];
    for (const subject of others) expect(await violations(job, `PUB ${subject} 0\r\n\r\n`), subject).toHaveLength(1);
    const notTheirs = [
      "deploy.events.*",
      "deploy.events.* other",
      "_INBOX.>",
      "_INBOX_other.>",
      ">",
      "build.status.7.ok",
    ];
    for (const [sid, subject] of notTheirs.entries())
      expect(await violations(job, `SUB ${subject} 9${sid}\r\n`), subject).toHaveLength(1);
  });

  test("a job without rights may do nothing: an empty list is not everything", async () => {
    const lab = await startLab(mode);
    await lab.answer({ grantOf: () => labGrant({ rights: { pub: [], req: [], sub: [], pull: [], observed: false } }) });
    const job = await lab.connect();
    expect(job.outcome).toBe("PONG");
    for (const subject of ["a", "a.b", "_INBOX_0123456789abcdef.x", "$JS.API.INFO"]) {
      expect(await violations(job, `PUB ${subject} 0\r\n\r\n`), subject).toHaveLength(1);
    }
    for (const subject of ["a", ">", "*", "$SYS.>"])
      expect(await violations(job, `SUB ${subject} 1\r\n`), subject).toHaveLength(1);
  });

  test("beside a right for one queue group, a right without keeps covering all", async () => {
    const lab = await startLab(mode);
    const sub = [{ subject: "a.*" }, { subject: "a.b", queue: "q" }, { subject: "c", queue: "q" }];
    await lab.answer({ grantOf: () => labGrant({ rights: { ...fakeGrant.rights, sub } }) });
    const job = await lab.connect();
    for (const [sid, subject] of ["a.b", "a.b q", "a.b r", "a.* s", "c q"].entries())
      expect(await violations(job, `SUB ${subject} ${sid}\r\n`), subject).toEqual([]);
    for (const subject of ["c", "c r"]) expect(await violations(job, `SUB ${subject} 9\r\n`), subject).toHaveLength(1);
  });

  test("a delivered message may be answered once", async () => {
    const lab = await startLab(mode);
    const job = (sub: string, pub: readonly string[]) =>
      labGrant({ rights: { ...fakeGrant.rights, pub, sub: [{ subject: sub }] } });
    await lab.answer({ grantOf: ({ target }) => (target === "asker" ? job("none", ["svc"]) : job("svc", [])) });
    const as = (target: string) =>
      lab.connect((info) => ({ auth_token: lab.ticket(info, { target }), ...lab.proof(info) }));
    const service = await as("service");
    const asker = await as("asker");
    await service.ask("SUB svc 1\r\n");
    await asker.ask("SUB _INBOX_0123456789abcdef.> 1\r\n");
    await asker.ask("PUB svc _INBOX_0123456789abcdef.r1 2\r\nhi\r\n");
    await service.next(/^hi$/);
    expect(await violations(service, "PUB _INBOX_0123456789abcdef.r1 2\r\nok\r\n")).toEqual([]);
    expect(await violations(service, "PUB _INBOX_0123456789abcdef.r1 2\r\nok\r\n")).toHaveLength(1);
    expect(await violations(service, "PUB _INBOX_0123456789abcdef.r2 2\r\nok\r\n")).toHaveLength(1);
    expect(await asker.next(/^ok$/)).toContain("ok");
  });

  test.each<{ what: string; code: string; options: (lab: Lab, info: ServerInfo) => object }>([
    { what: "nothing", code: "ticket_missing", options: () => ({}) },
    { what: "a job's valid password", code: "ticket_invalid", options: () => ({ user: "events", pass: "wln_a.b" }) },
    { what: "a CI token", code: "ticket_invalid", options: () => ({ auth_token: `eyJ.${"a".repeat(3_000)}.x` }) },
    {
      what: "a forged ticket",
      code: "ticket_invalid",
      options: (_lab, { server_id: serverId, client_id: cid }) => {
        const words = { connection: "nc_1", session: "ses_1", target: "events", expiresAt: Date.now() + 5_000 };
        return { auth_token: mintTicket(randomBytes(32), { ...words, serverId, cid }) };
      },
    },
    {
      what: "an expired ticket",
      code: "ticket_invalid",
      options: (lab, info) => ({ auth_token: lab.ticket(info, { expiresAt: Date.now() - 1 }) }),
    },
    {
      what: "another connection's ticket",
      code: "ticket_elsewhere",
      options: (lab, info) => ({ auth_token: lab.ticket({ ...info, client_id: info.client_id + 1 }) }),
    },
    {
      what: "another server's ticket",
      code: "ticket_elsewhere",
      options: (lab, info) => ({ auth_token: lab.ticket({ ...info, server_id: lab.keys.proxy.publicKey }) }),
    },
  ])("refused at once, through the gateway or not: $what", async ({ code, options }) => {
    const lab = await startLab(mode);
    const { refusals, responder } = await lab.answer();
    const proxied = await lab.connect((info) => ({ ...options(lab, info), ...lab.proof(info) }));
    const bare = await lab.connect((info) => options(lab, info));
    expect([proxied.outcome, bare.outcome]).toEqual([refused, refused]);
    expect(Math.max(proxied.ms, bare.ms)).toBeLessThan(1_500);
    expect(refusals.map((refusal) => refusal.code)).toEqual([code, code]);
    expect(refusals[0]?.request).toMatchObject({ cid: proxied.info.client_id, from: "127.0.0.1" });
    expect(responder.counts().admitted).toBe(0);
  });

  test("a ticket is good once: not for a second CONNECT, and not twice", async () => {
    const lab = await startLab(mode);
    const { refusals } = await lab.answer();
    let again = {};
    const client = await lab.connect((info) => {
      again = { auth_token: lab.ticket(info), ...lab.proof(info) };
      return again;
    });
    expect(client.outcome).toBe("PONG");
    const lines = await client.ask(`CONNECT ${JSON.stringify(again)}\r\n`);
    expect(lines).toContain(refused);
    expect(refusals.map(({ code }) => code)).toEqual(["ticket_used"]);
  });

  test("past the gateway even a live ticket is refused, and so is another proxy's signature", async () => {
    const lab = await startLab(mode);
    await lab.answer();
    const bare = await lab.connect((info) => ({ auth_token: lab.ticket(info) }));
    const stranger = createNkey("server", randomBytes);
    const wrong = await lab.connect((info) => ({ auth_token: lab.ticket(info), ...lab.proof(info, stranger) }));
    expect([bare.outcome, wrong.outcome]).not.toContain("PONG");
    expect([bare.outcome, wrong.outcome].join()).toContain("-ERR");
  });

  test("it ends at the second its session ends", async () => {
    const lab = await startLab(mode);
    const end = Date.now() + 2_500;
    await lab.answer({ grantOf: () => labGrant({ expiresAt: end }) });
    const client = await lab.connect();
    expect(client.outcome).toBe("PONG");
    expect(await client.next(/Expired/)).toContain("-ERR 'User Authentication Expired'");
    expect(Date.now()).toBeLessThan(end + 2_000);
  });

  test("nobody answers, or too late: refused when the server's two seconds are over", async () => {
    const lab = await startLab(mode);
    const down = await lab.connect();
    expect([down.outcome, down.ms > 1_800]).toEqual([refused, true]); // after its timeout, and not at once
    const late: Promise<CalloutAnswer>[] = [];
    await lab.answer({}, (callout) => (bytes, peer) => {
      const answer = new Promise<CalloutAnswer>((resolve) => setTimeout(() => resolve(callout(bytes, peer)), 2_300));
      late.push(answer);
      return answer;
    });
    const slow = await lab.connect();
    expect([slow.outcome, slow.ms > 1_800]).toEqual([refused, true]);
    // Admitted by who did not know that the server had given up, or dropped by who did: it changed nothing.
    const kinds = (await Promise.all(late)).map(({ kind }) => kind);
    expect([["admitted"], ["dropped"]]).toContainEqual(kinds);
    expect(await lab.connection(slow.info.client_id)).toBeUndefined();
  });

  test("a request past its deadline is dropped", async () => {
    const lab = await startLab(mode);
    const { responder } = await lab.answer({ now: () => Date.now() + 60_000 });
    expect((await lab.connect()).outcome).toBe(refused);
    expect(responder.counts()).toEqual({ admitted: 0, refused: 0, dropped: { late: 1 }, pending: 0 });
  });

  test("a callout that throws, or whose user is none, lets nobody in and goes on", async () => {
    const lab = await startLab(mode);
    let turn = 0;
    const { faults, responder } = await lab.answer({}, (callout) => (bytes, peer) => {
      if (turn++ === 0) throw new Error("a bug");
      return callout(bytes, peer);
    });
    expect((await lab.connect()).outcome).toBe(refused);
    expect((await lab.connect()).outcome).toBe("PONG");
    expect([faults, responder.counts()]).toMatchObject([[new Error("a bug")], { admitted: 1, dropped: { failed: 1 } }]);
  });

  test("two responders, one of which refuses: each client has the answer of the one that was asked", async () => {
    const lab = await startLab(mode);
    const yes = await lab.answer();
    const no = await lab.answer({ grantOf: () => undefined });
    const clients = await Promise.all(Array.from({ length: 60 }, () => lab.connect()));
    const admitted = clients.filter(({ outcome }) => outcome === "PONG").length;
    expect(clients.filter(({ outcome }) => outcome === refused)).toHaveLength(60 - admitted);
    expect([yes.responder.counts().admitted, no.responder.counts().refused]).toEqual([admitted, 60 - admitted]);
    expect(admitted).toBeGreaterThan(5);
    expect(admitted).toBeLessThan(55);
  });

  test("two responders that answer alike: all are let in", async () => {
    const lab = await startLab(mode);
    await lab.answer();
    await lab.answer();
    const clients = await Promise.all(Array.from({ length: 60 }, () => lab.connect()));
    expect(new Set(clients.map(({ outcome }) => outcome))).toEqual(new Set(["PONG"]));
  });

  test("one of two that goes is not waited for", async () => {
    const lab = await startLab(mode);
    const one = await lab.answer();
    await lab.answer();
    await one.responder.stop();
    const clients = await Promise.all(Array.from({ length: 20 }, () => lab.connect()));
    expect(new Set(clients.map(({ outcome }) => outcome))).toEqual(new Set(["PONG"]));
    expect(one.responder.health()).toMatchObject({ answering: false });
  });

  test("direct mode: a password is somebody until its JWT ends, and a wrong one is nobody", async () => {
    const lab = await startLab(mode);
    const { refusals } = await lab.answer({
      async admitDirect({ secret }) {
        if (secret === "right") return labGrant();
        throw new WayleaveError("credential_invalid", "The password is none of ours.");
      },
    });
    const right = await lab.connect(() => ({ user: "events", pass: "right" }));
    const wrong = await lab.connect(() => ({ user: "events", pass: "wrong" }));
    expect([right.outcome, wrong.outcome]).toEqual(["PONG", refused]);
    expect(await lab.connection(right.info.client_id)).toMatchObject({ authorized_user: fakeGrant.name });
    expect(refusals).toMatchObject([{ code: "credential_refused", request: { cid: wrong.info.client_id } }]);
    expect(await violations(right, "PUB other 0\r\n\r\n")).toHaveLength(1);
  });

  test("what the callout is asked is sealed: whoever listens in AUTH reads no credential", async () => {
    const lab = await startLab(mode);
    await lab.answer();
    const ear = await lab.service();
    const heard: string[] = [];
    ear.subscribe(">", {
      callback: (_error, message) => void heard.push(Buffer.from(message.data).toString("latin1")),
    });
    await ear.flush();
    expect((await lab.connect()).outcome).toBe("PONG");
    await ear.flush();
    expect(heard.length).toBeGreaterThan(0);
    for (const one of heard) expect(one).toMatch(/^xkv1/);
  });
});

/** What the server says against operations, and nothing else. */
async function violations(client: BareClient, operations: string): Promise<readonly string[]> {
  return (await client.ask(operations)).filter((line) => line.startsWith("-ERR 'Permissions Violation"));
}
