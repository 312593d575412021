import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Connz, monitored } from "./nats-proof-admin.ts";
import { type Attacker, type AttackLab, startAttackLab, type Witnessed } from "./nats-proof-attack-lab.ts";
import { until } from "./nats-proof-world.ts";

/** What a job that was let in tries: GitLab, broker, gateway and nats-server are real, the client says anything. */
let lab: AttackLab;
beforeAll(async () => {
  lab = await startAttackLab();
});
afterAll(async () => {
  await lab?.close();
});

const own = "build.status.1042";

function hpub(subject: string, lines: readonly string[], payload = "x"): string {
  const block = `NATS/1.0\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
  return `HPUB ${subject} ${block.length} ${block.length + payload.length}\r\n${block}${payload}\r\n`;
}

/** What the attacker made arrive anywhere in the account. */
async function arrived({ session }: Attacker): Promise<readonly Witnessed[]> {
  return (await lab.witnessed()).filter(({ headers }) => headers["Wayleave-Job"]?.some((job) => job.endsWith(session)));
}

const operations = async (attacker: Attacker) =>
  (await attacker.denied()).map(({ operation, outcome, reason }) => [operation, outcome, reason]);

describe("speaking in another's name", () => {
  test("name spoof: what a client calls itself is a label, for the server and every receiver", async () => {
    const attacker = await lab.attacker();
    const { password = "" } = await attacker.job.credential();
    const raw = await lab.raw();
    await raw.enter(password, { name: "boss", lang: "x\r\nPUB y 0" });
    raw.say(`PUB ${own}.named 1\r\nx\r\n`);
    await until(async () => (await arrived(attacker)).length === 1);
    const [message] = await arrived(attacker);
    expect(message?.headers["Wayleave-Job"]).toEqual([
      `gitlab/1042/${attacker.job.job.id} acme/shop ${attacker.session}`,
    ]);
    const { connections } = await monitored<Connz>(lab.proof.world, "connz?auth=1");
    const mine = connections.filter(({ name }) => name?.startsWith("boss ("));
    expect(mine.map((each) => each.authorized_user)).toEqual([`gitlab:gitlab:1042:job:${attacker.job.job.id}`]);
    const { data } = await lab.records.until("nats.connected", ({ data: { client } }) => client?.name === "boss");
    expect(data).toMatchObject({ roles: ["status"], client: { name: "boss", lang: "x  PUB y 0" } });
  });

  test("a user name that is no target is refused, and recorded", async () => {
    const { job } = await lab.attacker();
    const { password = "" } = await job.credential();
    const raw = await lab.raw();
    raw.say(`CONNECT ${JSON.stringify({ user: "boss", pass: password })}\r\nPING\r\n`);
    await until(() => raw.closed());
    expect(raw.heard()).toMatch(
      /^-ERR 'Authorization Violation: the password is for target events, and the user is "boss"/,
    );
    await lab.records.until(
      "nats.refused",
      ({ data }) => data.code === "credential_invalid" && /"boss"/.test(data.detail),
    );
  });

  test.each([
    ["our own", "Wayleave-Job: gitlab/1/1 acme/boss ses_0"],
    ["ours in lower case", "wayleave-job: boss"],
    ["ours with other signs", "WAYLEAVE_JOB: boss"],
    ["ours with a dot", "Wayleave.Job: boss"],
    ["the message's number", "Wayleave-Message: nc_0.1"],
    ["the server's own", 'Nats-Request-Info: {"acc":"CI","user":"boss"}'],
    ["the server's, in capitals", "NATS-REQUEST-INFO: {}"],
  ])("header forging: %s is taken out", async (_, line) => {
    const attacker = await lab.attacker();
    expect(await attacker.say(hpub(`${own}.forged`, [line, "Mine: 1", line]))).toBe("");
    const [message] = await arrived(attacker);
    expect(Object.keys(message?.headers ?? {}).toSorted()).toEqual(["Mine", "Wayleave-Job", "Wayleave-Message"]);
    for (const name of ["Wayleave-Job", "Wayleave-Message"]) expect(message?.headers[name]).toHaveLength(1);
  });

  test.each([
    ["without its last blank line", "HPUB X 18 19\r\nNATS/1.0\r\nA: bcd\r\nx\r\n"],
    ["without a first line", "HPUB X 12 13\r\nA: b\r\nC: d\r\nx\r\n"],
    ["with a bare line feed in it", "HPUB X 24 25\r\nNATS/1.0\r\nA: b\nC: d\r\n\r\nx\r\n"],
    ["with a name that holds a space", "HPUB X 20 21\r\nNATS/1.0\r\nA B: c\r\n\r\nx\r\n"],
    ["with a folded line", "HPUB X 24 25\r\nNATS/1.0\r\nA: b\r\n c\r\n\r\n \r\nx\r\n"],
    ["shorter than it says", "HPUB X 30 31\r\nNATS/1.0\r\n\r\nxxxxxxxxxxxxxxxxxxx\r\n"],
  ])("header forging: a block %s ends the connection, and is recorded", async (_, bytes) => {
    const attacker = await lab.attacker();
    const said = await attacker.say(bytes.replace("X", `${own}.block`));
    await until(() => attacker.raw.closed());
    expect(said).toMatch(/^-ERR 'Protocol Violation/);
    const of = ({ session }: { session?: string }) => session === attacker.session;
    const refused = await lab.records.until("nats.refused", of);
    expect(refused.data.code).toMatch(/^(headers_malformed|operation_malformed|payload_unterminated)$/);
    const { data } = await lab.records.until("nats.disconnected", of);
    expect(data).toMatchObject({ reason: "protocol_error", published: { messages: 0 } });
    expect(await arrived(attacker)).toEqual([]);
  });

  test("a second CONNECT, with another job's password, ends the connection", async () => {
    const attacker = await lab.attacker();
    const { password } = await (await lab.proof.startJob("acme/worker")).credential();
    const said = await attacker.say(
      `CONNECT ${JSON.stringify({ auth_token: password })}\r\nPUB ${own}.second 0\r\n\r\n`,
    );
    expect(said).toMatch(/^-ERR 'Protocol Violation: a second CONNECT/);
    const { data } = await lab.records.until("nats.refused", ({ session }) => session === attacker.session);
    expect(data).toMatchObject({ code: "second_connect" });
    expect(await arrived(attacker)).toEqual([]);
  });
});

describe("making others speak", () => {
  test.each([
    "deploy.events.prod",
    "build.status.1043.ok",
    "_INBOX_0123456789abcdef.1",
    "$JS.API.STREAM.PURGE.EVENTS",
    "_R_.x",
  ])("reply-subject trick: neither the echo service nor JetStream answers to %s", async (reply) => {
    const attacker = await lab.attacker();
    await attacker.say(`PUB svc.echo ${reply} 1\r\nx\r\nPUB event.shop ${reply} 1\r\nx\r\n`);
    expect(await operations(attacker)).toEqual([
      ["req svc.echo", "deny", "subject_refused"],
      ["req event.shop", "deny", "subject_refused"],
    ]);
    expect(await arrived(attacker)).toEqual([]);
    expect((await lab.witnessed()).filter(({ subject }) => subject === reply)).toEqual([]);
  });

  test("trace redirect: the message arrives without the headers, and no trace goes anywhere", async () => {
    const attacker = await lab.attacker();
    const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const lines = ["Nats-Trace-Dest: deploy.trace", "Nats-Trace-Only: 1", `traceparent: ${trace}`, "tracestate: a=b"];
    expect(await attacker.say(hpub(`${own}.traced`, lines))).toBe("");
    const [message, ...more] = await arrived(attacker);
    expect(more).toEqual([]);
    expect(Object.keys(message?.headers ?? {}).toSorted()).toEqual(["Wayleave-Job", "Wayleave-Message", "tracestate"]);
    expect((await lab.witnessed()).filter(({ subject }) => subject === "deploy.trace")).toEqual([]);
  });

  test.each(["Nats-Schedule: @every 1s", "Nats-Schedule-Target: deploy.x", "Nats-Rollup: all", "Nats-Batch-Id: b"])(
    "the header %s acts elsewhere: the message is refused",
    async (line) => {
      const attacker = await lab.attacker();
      expect(await attacker.say(hpub("event.shop", [line]))).toContain(line.split(":")[0]);
      expect(await operations(attacker)).toEqual([["pub event.shop", "deny", "ambiguous_request"]]);
      expect(await arrived(attacker)).toEqual([]);
    },
  );

  test("Nats-Msg-Id: no job makes another's event a duplicate, and each may still make its own", async () => {
    const [shop, worker] = [await lab.proof.startJob("acme/shop"), await lab.proof.startJob("acme/worker")];
    const [one, other] = [await shop.connect(), await worker.connect()];
    const prefix = (await worker.session()).slice(4);
    const stored = [
      await jetstream(one).publish("event.shop", "first", { msgID: "release-7" }),
      await jetstream(one).publish("event.shop", "forged", { msgID: `${prefix}:release-7` }),
      await jetstream(other).publish("event.worker", "the other's", { msgID: "release-7" }),
      await jetstream(one).publish("event.shop", "again", { msgID: "release-7" }),
    ];
    await Promise.all([one.close(), other.close()]);
    expect(stored.map(({ duplicate }) => duplicate)).toEqual([false, false, false, true]);
  });
});

describe("reading what is not one's own", () => {
  test.each([
    "_INBOX_",
    "_INBOX_*.>",
    "_INBOX*",
    ">",
    "*.>",
    "*",
    "$JS.>",
    "$SYS.>",
    "$SYS.ACCOUNT.>",
    "_R_.>",
    "$KV.x.>",
  ])("inbox reading: nobody listens to %s", async (form) => {
    const victim = await lab.proof.startJob("acme/worker");
    const attacker = await lab.attacker();
    const subject = form === "_INBOX_" ? `_INBOX_${(await victim.session()).slice(4)}.>` : form;
    const said = await attacker.say(`SUB ${subject} 1\r\nSUB ${subject} workers 2\r\n`);
    expect(said.match(/-ERR '(Permissions Violation for Subscription|Protocol Violation)/g)?.length).toBeGreaterThan(0);
    await answered(victim);
    expect(attacker.raw.heard()).not.toContain("MSG ");
    expect(lab.records.of("nats.subscribed", attacker.session)).toEqual([]);
    if (attacker.raw.closed()) return; // a pattern that is none is no denial, but the end
    expect((await attacker.denied()).map(({ operation, outcome }) => [operation, outcome])).toEqual([
      [`sub ${subject}`, "deny"],
      [`sub ${subject} workers`, "deny"],
    ]);
  });

  test("_INBOX.> is the attacker's own: what others are answered does not come there", async () => {
    const [victim, attacker] = [await lab.proof.startJob("acme/worker"), await lab.attacker()];
    expect(await attacker.say("SUB _INBOX.> 1\r\n")).toBe("");
    await answered(victim);
    await attacker.say("");
    expect(attacker.raw.heard()).not.toContain("MSG ");
    const [subscribed] = lab.records.of("nats.subscribed", attacker.session);
    expect(subscribed?.data).toMatchObject({ subject: `_INBOX_${attacker.session.slice(4)}.>`, rule: "inbox" });
  });

  async function answered(job: Awaited<ReturnType<typeof lab.proof.startJob>>): Promise<void> {
    const client = await job.connect();
    expect((await client.request("svc.echo", "secret")).string()).toBe("echo secret");
    await client.close();
  }
});

describe("widening by JetStream and the server's own subjects", () => {
  const push = JSON.stringify({
    stream_name: "EVENTS",
    config: { durable_name: "shop", deliver_subject: "deploy.events.prod", ack_policy: "none" },
  });
  const refused: readonly (readonly [string, string?])[] = [
    ["$JS.API.CONSUMER.CREATE.EVENTS", push],
    ["$JS.API.CONSUMER.CREATE.EVENTS.shop", push],
    ["$JS.API.CONSUMER.CREATE.EVENTS.shop.event.worker", push],
    ["$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.shop", push],
    ["$JS.API.CONSUMER.DELETE.EVENTS.worker"],
    ["$JS.API.CONSUMER.PAUSE.EVENTS.worker"],
    ["$JS.API.STREAM.CREATE.MINE", '{"name":"MINE","subjects":["mine.>"]}'],
    ["$JS.API.STREAM.UPDATE.EVENTS", '{"name":"EVENTS","subjects":["event.>","_INBOX.>"]}'],
    ["$JS.API.STREAM.PURGE.EVENTS"],
    ["$JS.API.STREAM.DELETE.EVENTS"],
    ["$JS.API.STREAM.MSG.DELETE.EVENTS", '{"seq":1}'],
    ["$JS.API.STREAM.MSG.GET.EVENTS", '{"seq":1}'],
    ["$JS.API.DIRECT.GET.EVENTS", '{"seq":1}'],
    ["$JS.API.DIRECT.GET.EVENTS.event.worker"],
    ["$JS.API.STREAM.NAMES"],
    ["$JS.API.ACCOUNT.PURGE.CI"],
    ["$JS.FC.EVENTS.worker.1"],
    ["$SYS.REQ.USER.AUTH"],
    ["$SYS.REQ.SERVER.PING.CONNZ"],
    ["$SYS.REQ.CLAIMS.UPDATE"],
    ["$SRV.PING"],
  ];

  test("none of it reaches the server, whatever it asks for, and each is recorded", async () => {
    const manager = await jetstreamManager(lab.admin);
    const before = await stateOf(manager);
    const attacker = await lab.attacker();
    for (const [subject, body = ""] of refused) {
      expect(await attacker.say(`PUB ${subject} _INBOX.a ${body.length}\r\n${body}\r\n`)).toContain(
        `-ERR 'Permissions Violation for Publish to "${subject}": `,
      );
    }
    expect(await operations(attacker)).toEqual(
      refused.map(([subject]) => [`pub ${subject}`, "deny", "subject_refused"]),
    );
    expect(await stateOf(manager)).toEqual(before);
  });

  test("another's consumer is neither read nor acknowledged for", async () => {
    const manager = await jetstreamManager(lab.admin);
    await jetstream(lab.admin).publish("event.worker", "for the worker");
    const worker = await (await lab.proof.startJob("acme/worker")).connect();
    const pull = await jetstream(worker).consumers.get("EVENTS", "worker");
    const message = await pull.next({ expires: 5_000 });
    const ack = String((message as unknown as { readonly msg: { readonly reply: string } } | null)?.msg.reply);
    expect(ack).toMatch(/^\$JS\.ACK\./);
    const before = await manager.consumers.info("EVENTS", "worker");
    const attacker = await lab.attacker();
    const asks = ["$JS.API.CONSUMER.MSG.NEXT.EVENTS.worker", "$JS.API.CONSUMER.INFO.EVENTS.worker"];
    for (const subject of asks) await attacker.say(`PUB ${subject} _INBOX.a 1\r\n1\r\n`);
    await attacker.say(`PUB ${ack} 4\r\n+ACK\r\nPUB ${ack} 5\r\n+TERM\r\n`);
    expect(await operations(attacker)).toEqual(Array(4).fill(["pull EVENTS.worker", "deny", "no_role"]));
    const after = await manager.consumers.info("EVENTS", "worker");
    expect(after.ack_floor).toEqual(before.ack_floor);
    expect(after.num_ack_pending).toBe(before.num_ack_pending);
    await message?.ackAck();
    await worker.close();
  });

  async function stateOf(manager: Awaited<ReturnType<typeof jetstreamManager>>) {
    const streams = [];
    for await (const { config, state } of manager.streams.list()) streams.push({ subjects: config.subjects, ...state });
    const consumers = await manager.consumers.list("EVENTS").next();
    return { streams, consumers: consumers.map(({ name, config }) => [name, config]) };
  }
});

test("connect_urls and all else of the servers behind the gateway stays there", async () => {
  const { raw } = await lab.attacker();
  const { server } = lab.proof.world;
  const { server_id: id } = await monitored<{ readonly server_id: string }>(lab.proof.world, "varz");
  const told = JSON.stringify(raw.info) + raw.heard();
  expect(told).not.toMatch(/connect_urls|ws_connect_urls|xkey|client_ip|cluster|client_id/);
  expect(told).not.toContain(String(server.port));
  expect(told).not.toContain(id);
});
