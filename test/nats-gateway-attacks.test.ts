import { expect, test } from "vitest";
import { type GatewayLab, gatewayLab, rawClient } from "./nats-gateway-lab.ts";

const jobs = {
  a: { password: "a", allow: ["pub build.>", "sub build.>", "req svc.>"] },
  b: { password: "b", allow: ["pub build.>", "sub build.>", "sub svc.>"] },
};

/** What a service of the account hears on every subject that is not an inbox. */
async function listen(lab: GatewayLab) {
  const service = await lab.service();
  const heard: { subject: string; reply: string; text: string; headers: Record<string, string[]> }[] = [];
  service.subscribe("*.>", {
    callback: (_, message) => {
      if (message.subject.startsWith("_") || message.subject.startsWith("$")) return;
      const named = message.headers?.keys().map((key) => [key, message.headers?.values(key) ?? []]) ?? [];
      heard.push({
        subject: message.subject,
        reply: message.reply ?? "",
        text: message.string(),
        headers: Object.fromEntries(named),
      });
    },
  });
  await service.flush();
  return { service, heard };
}

test("a message is denied with the reason, recorded, and the connection stays", async () => {
  const lab = await gatewayLab(jobs);
  const { heard } = await listen(lab);
  const client = await lab.client("a");
  const errors: string[] = [];
  (async () => {
    for await (const status of client.status()) if (status.type === "error") errors.push(status.error.message);
  })().catch(() => undefined);
  client.publish("deploy.events.prod", "now");
  client.publish("build.ok", "fine");
  await client.flush();
  await lab.until(() => errors.length > 0 && heard.length > 0);
  expect(errors[0]).toMatch(/^Permissions Violation for Publish to "deploy.events.prod": no role of this job allows/);
  expect(heard.map(({ subject }) => subject)).toEqual(["build.ok"]);
  expect(lab.authority.of("decision")).toEqual([
    {
      gateway: "nats-1",
      target: "events",
      operation: "pub deploy.events.prod",
      effect: "deny",
      outcome: "deny",
      reason: "no_role",
      policy: "p",
    },
  ]);
  expect(client.isClosed()).toBe(false);
});

test("a subscription is denied, and nats.js ends that one alone with the reason", async () => {
  const lab = await gatewayLab(jobs);
  const client = await lab.client("a");
  const denied = client.subscribe("secret.>");
  expect(String(await denied.closed)).toContain('Permissions Violation for Subscription to "secret.>"');
  expect(lab.authority.of("nats.subscribed")).toEqual([]);
  expect(lab.authority.of("decision").map(({ operation }) => operation)).toEqual(["sub secret.>"]);
});

test("name spoof: the server and every receiver know the job, whatever it calls itself", async () => {
  const lab = await gatewayLab(jobs);
  const { heard } = await listen(lab);
  const raw = await rawClient(lab.port);
  await raw.enter("a", { name: "boss", user: "boss", lang: "x\r\nPUB y 0" });
  raw.say("PUB build.x 1\r\nx\r\n");
  await lab.until(() => heard.length === 1);
  expect(heard[0]?.headers["Wayleave-Job"]).toEqual(["gitlab:gitlab.example:1042:job:a000000000000000"]);
  expect(lab.authority.admitted[0]?.presented.user).toBe("boss");
});

test("headers that would speak for others are taken out; those that would act elsewhere refuse the message", async () => {
  const lab = await gatewayLab(jobs);
  const { heard } = await listen(lab);
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  const send = (lines: string) => {
    const block = `NATS/1.0\r\n${lines}\r\n`;
    raw.say(`HPUB build.x ${block.length} ${block.length + 1}\r\n${block}x\r\n`);
  };
  send('Wayleave-Job: gitlab:boss\r\nwayleave_job: boss\r\nNats-Request-Info: {"user":"boss"}\r\nMine: 1\r\n');
  send("Nats-Trace-Dest: deploy.events.prod\r\nTraceparent: 00-11-22-01\r\n");
  send("Nats-Schedule-Target: deploy.events.prod\r\nNats-Schedule: @every 1s\r\n");
  raw.say("PING\r\n");
  await lab.until(() => raw.heard().includes("PONG") && heard.length === 2);
  const ours = (n: number) => ({
    "Wayleave-Job": ["gitlab:gitlab.example:1042:job:a000000000000000"],
    "Wayleave-Message": [`nc_0000000000000001.${n}`],
  });
  expect(heard.map(({ headers }) => headers)).toEqual([{ ...ours(1), Mine: ["1"] }, ours(2)]);
  expect(lab.authority.of("decision")).toMatchObject([{ operation: "pub build.x", reason: "ambiguous_request" }]);
  expect(raw.heard()).toContain("header Nats-Schedule");
});

test.each([
  "deploy.events.prod",
  "_INBOX_b000000000000000.x",
  "_INBOX",
  "build.ok",
  "$JS.API.STREAM.DELETE.S",
  "_R_.x",
])("reply-subject trick: nobody answers to %s in another's name", async (reply) => {
  const lab = await gatewayLab(jobs);
  const { service, heard } = await listen(lab);
  service.subscribe("svc.echo", { callback: (_, message) => void message.respond("answered") });
  await service.flush();
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  raw.say(`PUB svc.echo ${reply} 1\r\nx\r\nPUB build.y ${reply} 1\r\nx\r\nPUB build.done 0\r\n\r\nPING\r\n`);
  await lab.until(() => heard.length > 0 && raw.heard().includes("PONG"));
  await service.flush();
  expect(heard.map(({ subject }) => subject)).toEqual(["build.done"]);
  expect(lab.authority.of("decision").map(({ operation }) => operation)).toEqual(["req svc.echo", "req build.y"]);
});

test.each([
  "_INBOX_b000000000000000.>",
  "_INBOX_b000000000000000.x",
  "_INBOX",
  "_INBOXb.>",
  "*.>",
  ">",
  "*",
  "$SYS.>",
  "$JS.EVENT.>",
  "_R_.>",
  "_GR_.>",
  "$KV.>",
])("inbox reading: nobody subscribes to %s, observed or not", async (subject) => {
  const observed = { ...jobs.a, password: "o", mode: "observe" as const };
  const lab = await gatewayLab({ ...jobs, o: observed });
  for (const password of ["a", "o"]) {
    if (subject === "$KV.>" && password === "o") continue; // policy's matter, and observed
    const raw = await rawClient(lab.port);
    await raw.enter(password);
    raw.say(`SUB ${subject} 1\r\nSUB ${subject} workers 2\r\nPING\r\n`);
    await lab.until(() => raw.heard().includes("PONG"));
    expect(raw.heard().match(/-ERR 'Permissions Violation for Subscription/g)).toHaveLength(2);
  }
  expect(lab.authority.of("nats.subscribed")).toEqual([]);
  expect(lab.authority.of("decision").every(({ outcome }) => outcome === "deny")).toBe(true);
});

test("what the client calls _INBOX is its own: two jobs with the same names do not meet", async () => {
  const lab = await gatewayLab(jobs);
  const [one, two] = [await rawClient(lab.port), await rawClient(lab.port)];
  await one.enter("a");
  await two.enter("b");
  for (const raw of [one, two]) raw.say("SUB _INBOX.same.> 1\r\nSUB _INBOX.> 2\r\nPING\r\n");
  await lab.until(() => one.heard().includes("PONG") && two.heard().includes("PONG"));
  const service = await lab.service();
  service.publish("_INBOX_a000000000000000.same.1", "for one");
  service.publish("_INBOX.same.1", "for nobody");
  service.publish("_INBOX_b000000000000000.other", "for two");
  await lab.until(() => one.heard().includes("for one") && two.heard().includes("for two"));
  expect(one.heard()).toContain("MSG _INBOX.same.1 1 7\r\nfor one\r\n");
  expect(two.heard()).toContain("MSG _INBOX.other 2 7\r\nfor two\r\n");
  expect(`${one.heard()}${two.heard()}`).not.toContain("for nobody");
  expect(lab.authority.of("nats.subscribed").map(({ subject, rule }) => [subject, rule])).toEqual(
    ["a", "b"].flatMap((name) => [
      [`_INBOX_${name}000000000000000.same.>`, "inbox"],
      [`_INBOX_${name}000000000000000.>`, "inbox"],
    ]),
  );
});

test("a second CONNECT ends the connection, and is recorded", async () => {
  const lab = await gatewayLab(jobs);
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  raw.say(`CONNECT ${JSON.stringify({ auth_token: "b" })}\r\nPUB build.x 0\r\n\r\n`);
  await lab.until(() => raw.closed());
  expect(raw.heard()).toMatch(/^-ERR 'Protocol Violation: a second CONNECT/);
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expect(lab.authority.of("nats.refused")).toMatchObject([
    { code: "second_connect", connection: "nc_0000000000000001" },
  ]);
  expect(lab.authority.of("nats.disconnected")).toMatchObject([
    { reason: "second_connect", published: { messages: 0 }, server: { received: { messages: 0 } } },
  ]);
  expect(lab.authority.admitted).toHaveLength(1);
});

test("JetStream's API beyond fetching is nobody's, neither is any other system subject", async () => {
  const lab = await gatewayLab({ a: { password: "a", allow: ["pull S.C", "pub build.>"], mode: "observe" } });
  const refused = [
    "$JS.API.STREAM.CREATE.S",
    "$JS.API.STREAM.NAMES",
    "$JS.API.CONSUMER.CREATE.S",
    "$JS.API.CONSUMER.CREATE.S.C.build.x",
    "$JS.API.CONSUMER.DURABLE.CREATE.S.C",
    "$JS.API.CONSUMER.MSG.NEXT.S",
    "$JS.API.CONSUMER.MSG.NEXT.S.C.D",
    "$JS.API.DIRECT.GET.S",
    "$JS.ACK.S.C",
    "$JS.ACK.S.C.1.2.3.4",
    "$JS.ACK.S.C.1.2.3.4.x",
    "$JS.FC.S.C.1",
    "$SYS.REQ.USER.AUTH",
    "$SRV.PING",
    "$MQTT.msgs.x",
    "_INBOX.x",
    "_INBOX_a000000000000000.x",
    "_INBOX_b000000000000000.x",
    "_R_.x",
    "_GR_.x.y.build.x",
    "wayleave.anything",
  ];
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  for (const subject of refused) raw.say(`PUB ${subject} 0\r\n\r\n`);
  raw.say("PING\r\n");
  await lab.until(() => raw.heard().includes("PONG"));
  expect(lab.authority.of("decision").map(({ operation, outcome, reason }) => [operation, outcome, reason])).toEqual(
    refused.map((subject) => [`pub ${subject}`, "deny", "subject_refused"]),
  );
  expect(lab.authority.rows()).toEqual([]);
});

test("an observed target lets through what policy denies, says so, and marks each row", async () => {
  const lab = await gatewayLab({ a: { password: "a", allow: ["pub build.>"], mode: "observe" } });
  const { heard } = await listen(lab);
  const client = await lab.client("a");
  for (const subject of ["build.x", "other.x", "other.x", "other.y"]) client.publish(subject);
  client.subscribe("any.thing");
  await client.flush();
  await lab.until(() => heard.length === 4);
  expect(lab.authority.rows().map((row) => row.split(" ").slice(0, 2).join(" "))).toEqual([
    "role build.x",
    "- other.x",
    "- other.x",
    "- other.y",
  ]);
  expect(lab.authority.of("decision").map(({ operation, outcome }) => [operation, outcome])).toEqual([
    ["pub other.x", "would_deny"],
    ["pub other.y", "would_deny"],
    ["sub any.thing", "would_deny"],
  ]);
  expect(lab.authority.of("nats.subscribed")).toMatchObject([{ subject: "any.thing", rule: "-" }]);
});

test("nothing of the servers behind reaches a client", async () => {
  const lab = await gatewayLab(jobs);
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  const told = JSON.stringify(raw.info) + raw.heard();
  expect(Object.keys(raw.info).sort()).toEqual([
    "auth_required",
    "headers",
    "host",
    "max_payload",
    "nonce",
    "port",
    "proto",
    "server_id",
    "server_name",
    "version",
  ]);
  expect(told).not.toContain(String(lab.server().port));
  expect(told).not.toMatch(/connect_urls|xkey|client_ip|cluster/);
});

test("a flood of denials ends the connection, and the job's next ones for a while", async () => {
  const lab = await gatewayLab(jobs, { limits: { denials: 20 } });
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  raw.say("PUB no.right 0\r\n\r\n".repeat(1_000));
  await lab.until(() => raw.closed());
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expect(lab.authority.of("decision")).toHaveLength(21);
  expect(lab.authority.of("nats.disconnected")).toMatchObject([{ reason: "too_many_denials", denied: 21 }]);
  await expect(lab.client("a")).rejects.toThrow("too many denied operations of this job");
  await expect(lab.client("b")).resolves.toBeDefined();
});
