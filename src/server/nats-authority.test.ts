import { describe, expect, test } from "vitest";
import type { Decision } from "../core/decision.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";
import type { NatsOperation } from "../core/target.ts";
import type { Admission, SessionChange } from "../gateway/nats/ports.ts";
import { greeting, type NatsWorld, natsWorld, shopNats } from "./nats-world.fake.ts";

const pub = (subject: string): NatsOperation => ({ kind: "nats", verb: "pub", subject });

async function admitted(w: NatsWorld, target = "events"): Promise<Admission> {
  const { secret } = await w.password("7712", target);
  return w.authority.admit(w.of({ secret }));
}

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "attached",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );

function disconnected({ connection, target, account, record }: Admission): AuditEvent {
  const none = { messages: 0, bytes: 0 };
  const place = { gateway: "jobs", connection, target, account };
  return {
    kind: "nats.disconnected",
    ...record,
    data: { ...place, reason: "client_closed", published: none, delivered: none, denied: 0 },
  };
}

describe("attach", () => {
  test("records the connection before it gives the pass, which names that one connection", async () => {
    const w = natsWorld();
    const admission = await admitted(w);
    const pass = await w.authority.attach(admission, greeting);
    expect(pass).toEqual({ ticket: `wlt_${admission.connection}`, proxySignature: "signed nonce-1" });
    expect(w.tickets).toEqual([
      {
        connection: admission.connection,
        session: admission.session,
        target: "events",
        serverId: "NSERVER",
        cid: 7,
        expiresAt: w.clock.now() + 5_000,
      },
    ]);
    expect(w.recorder.records.at(-1)).toMatchObject({
      kind: "nats.connected",
      session: admission.session,
      job: { project: "acme/shop" },
      data: {
        gateway: "jobs",
        connection: admission.connection,
        target: "events",
        account: "CI",
        mode: "gateway",
        server_id: "NSERVER",
        cid: 7,
        server_version: "2.15.1",
        client: { name: "release.sh", lang: "nats.js", version: "3.4.0" },
        from: "10.0.0.7",
        roles: ["release", "slow", "status"],
        records: "durable",
      },
    });
  });

  test("gives no pass where nothing can be recorded", async () => {
    const w = natsWorld();
    const admission = await admitted(w);
    w.recorder.fail = true;
    expect(await code(w.authority.attach(admission, greeting))).toBe("journal_unavailable");
    expect(w.tickets).toEqual([]);
  });

  test("gives none to a session that ended, before or while it was recorded", async () => {
    const w = natsWorld();
    const admission = await admitted(w);
    const attaching = code(w.authority.attach(admission, greeting));
    const ending = w.lifecycle.end(w.session(admission.session), "operator");
    expect(await attaching).toBe("session_ended");
    await ending;
    expect(await code(w.authority.attach(admission, greeting))).toBe("session_ended");
    expect(w.tickets).toEqual([]);
  });

  test("gives none to a connection that nobody admitted, that waited too long, or that has gone", async () => {
    const w = natsWorld();
    const admission = await admitted(w);
    expect(await code(w.authority.attach({ ...admission, connection: "nc_0000000000000000" }, greeting))).toBe(
      "credential_invalid",
    );
    w.clock.advance(30_001);
    expect(await code(w.authority.attach(admission, greeting))).toBe("credential_invalid");
    const { secret } = await w.password("2");
    const other = await w.authority.admit(w.of({ secret }));
    await w.authority.attach(other, greeting);
    w.authority.note(disconnected(other));
    expect(await code(w.authority.attach(other, greeting))).toBe("credential_invalid");
    expect(w.authority.admissionOf(other.connection)).toBeUndefined();
  });

  test.each([
    ["no longer names the target", (text: string) => text.replaceAll(/^ {2}(status|release|slow):.*\n/gm, "")],
    ["has another account there", (text: string) => text.replace("account: CI", "account: OTHER")],
  ])("gives none where policy %s", async (_why, change) => {
    const w = natsWorld();
    const admission = await admitted(w);
    w.enforce(change(shopNats));
    expect(await code(w.authority.attach(admission, greeting))).toBe("access_denied");
  });
});

describe("a decision", () => {
  test("is policy's of this moment, for the admission's target", async () => {
    const w = natsWorld();
    const admission = await admitted(w);
    const { decide } = w.authority;
    expect(decide(admission, pub("build.status.1042.ok"))).toMatchObject({ effect: "allow", rule: "status" });
    expect(decide(admission, pub("build.status.666.ok"))).toMatchObject({ effect: "deny", reason: "no_role" });
    expect(decide(admission, pub("log.x"))).toMatchObject({ effect: "deny" });
    expect(decide({ ...admission, target: "audit" }, pub("log.x"))).toMatchObject({ effect: "allow", rule: "log" });
  });

  test("widens with a fact and narrows with it, without a reconnect", async () => {
    const w = natsWorld();
    const admission = await admitted(w);
    const session = w.session(admission.session);
    const ask = () => w.authority.decide(admission, pub("release.done"));
    expect(ask()).toMatchObject({ effect: "deny", reason: "fact_missing" });
    const before = w.authority.epoch(session.id);
    w.world.facts["change.merged"] = true;
    await w.facts.refresh(session);
    expect(ask()).toMatchObject({ effect: "allow", rule: "release" });
    expect(w.authority.epoch(session.id)).toBeGreaterThan(before);
    w.world.facts["change.merged"] = false;
    await w.facts.refresh(session);
    expect(ask()).toMatchObject({ effect: "deny", reason: "condition_failed" });
  });

  test("counts limits only where it is told to", async () => {
    const w = natsWorld();
    const admission = await admitted(w);
    const ask = (): Decision => w.authority.decide(admission, pub("slow.done"));
    for (let use = 0; use < 5; use++) expect(ask().effect).toBe("allow");
    w.authority.count(ask());
    w.authority.count(ask());
    expect(ask()).toMatchObject({ effect: "deny", reason: "limit_exceeded" });
    w.clock.advance(60_001);
    expect(ask().effect).toBe("allow");
  });

  test("is a deny for sessions that ended, are suspended, or that nobody knows", async () => {
    const w = natsWorld();
    const admission = await admitted(w);
    const ask = (of: Admission) => w.authority.decide(of, pub("build.status.1042.ok"));
    const session = w.session(admission.session);
    await w.lifecycle.suspend(session, "lease_missed");
    expect(ask(admission)).toMatchObject({ effect: "deny", reason: "session_suspended" });
    expect(w.authority.hardEndAt(session.id)).toBe(0);
    await w.lifecycle.resume(session, "lease_missed");
    expect(w.authority.hardEndAt(session.id)).toBe(session.view.hardEndAt);
    await w.lifecycle.end(session, "operator");
    expect(ask(admission)).toMatchObject({ effect: "deny", reason: "session_ended" });
    expect(ask({ ...admission, session: "ses_zzzzzzzzzzzzzzzz" })).toMatchObject({
      effect: "deny",
      reason: "session_unknown",
    });
    expect(w.authority.hardEndAt("ses_zzzzzzzzzzzzzzzz")).toBe(0);
    expect(w.authority.epoch("ses_zzzzzzzzzzzzzzzz")).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe("whoever watches", () => {
  async function watched(w: NatsWorld, target?: string) {
    const changes: SessionChange[] = [];
    const stop = w.authority.watch((change) => changes.push(change));
    const admission = await admitted(w, target);
    await w.authority.attach(admission, greeting);
    changes.length = 0;
    return { changes, stop, admission };
  }

  test("is told of an end at once, with the reason, before it is durable", async () => {
    const w = natsWorld();
    const { changes, stop, admission } = await watched(w);
    const ending = w.lifecycle.end(w.session(admission.session), "job_finished");
    expect(changes).toEqual([{ kind: "ended", session: admission.session, why: "job finished 0 s ago" }]);
    await ending;
    stop();
    await w.lifecycle.end(w.session((await w.password("2")).session.id), "operator");
    expect(changes).toHaveLength(1);
  });

  test("is told of suspension, resumption, facts and renewal, each with a later epoch", async () => {
    const w = natsWorld();
    const { changes, admission } = await watched(w);
    const session = w.session(admission.session);
    const epochs = [w.authority.epoch(session.id)];
    const step = async (work: Promise<void>) => {
      await work;
      epochs.push(w.authority.epoch(session.id));
    };
    await step(w.lifecycle.suspend(session, "lease_missed"));
    await step(w.lifecycle.resume(session, "lease_missed"));
    await step(w.facts.refresh(session));
    expect(changes.every((change) => change.kind === "changed" && change.session === session.id)).toBe(true);
    expect(changes).toHaveLength(3);
    expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b));
  });

  test("is told of a policy that gives a connected job more than the server was told", async () => {
    const w = natsWorld();
    const { changes, admission } = await watched(w);
    const before = w.authority.epoch(admission.session);
    w.enforce(shopNats.replace('"sub deploy.events.*"', '"sub deploy.events.*", "sub more.*"'));
    expect(w.authority.epoch(admission.session)).toBeGreaterThan(before); // without being told
    w.authority.policyChanged();
    w.authority.policyChanged();
    expect(changes.map(({ kind }) => kind)).toEqual(["changed", "rights"]);
    expect(changes[1]).toMatchObject({ why: expect.stringContaining("more at events") });
  });

  test("is not sent away by a policy that gives less, or the same", async () => {
    const w = natsWorld();
    const { changes } = await watched(w);
    w.enforce(shopNats.replace(', "sub deploy.events.*"', ""));
    w.authority.policyChanged();
    w.enforce(shopNats.replace("change.merged", "change.approvals > 1"));
    w.authority.policyChanged();
    // The second gives back what the first took: the server was told of it when the job connected.
    expect(changes.map(({ kind }) => kind)).toEqual(["changed", "changed"]);
  });

  test("is told where the account is another", async () => {
    const w = natsWorld();
    const { changes } = await watched(w, "audit");
    w.enforce(shopNats.replace("P_$", "Q_$"));
    w.authority.policyChanged();
    expect(changes.map(({ kind }) => kind)).toEqual(["changed", "rights"]);
  });

  test("hears nothing of policies for sessions without connections, nor after the close", async () => {
    const w = natsWorld();
    const { changes, admission } = await watched(w);
    await w.lifecycle.end(w.session(admission.session), "operator");
    changes.length = 0;
    w.enforce(shopNats.replace("release.done", "release.more"));
    w.authority.policyChanged();
    w.authority.close();
    await w.password("5");
    expect(changes).toEqual([]);
  });
});

test("records pass through: durable, noted, settled, or refused", async () => {
  const w = natsWorld();
  const admission = await admitted(w);
  await w.authority.append([disconnected(admission)]);
  expect(w.recorder.kinds().at(-1)).toBe("nats.disconnected");
  await w.authority.settled();
  w.recorder.fail = true;
  await expect(w.authority.append([disconnected(admission)])).rejects.toThrow("disk");
  expect(() => w.authority.note(disconnected(admission))).toThrow("disk");
});

test("what one client did in a moment is written in pieces, in order, and not at all after one that failed", async () => {
  const w = natsWorld();
  const admission = await admitted(w);
  const { connection, target, account, record } = admission;
  const place = { gateway: "jobs", connection, target, account };
  const events = Array.from({ length: 2_500 }, (_, at): AuditEvent => {
    return { kind: "nats.unsubscribed", ...record, data: { ...place, sid: String(at) } };
  });
  const sizes: number[] = [];
  const append = w.recorder.append.bind(w.recorder);
  w.recorder.append = (some) => {
    sizes.push(some.length);
    w.recorder.fail = sizes.length === 5;
    return append(some);
  };
  await w.authority.append(events);
  expect(sizes).toEqual([1_000, 1_000, 500]);
  const sids = w.recorder.records.flatMap((each) => (each.kind === "nats.unsubscribed" ? [each.data.sid] : []));
  expect(sids).toEqual(events.map((_, at) => String(at)));
  await expect(w.authority.append(events)).rejects.toThrow("disk");
  expect(sizes).toEqual([1_000, 1_000, 500, 1_000, 1_000]);
});
