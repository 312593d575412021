import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";
import type { NatsOperation } from "../core/target.ts";
import type { Admission, SessionChange } from "../gateway/nats/ports.ts";
import { remoteWorld, secret } from "./nats-remote.fake.ts";
import type { RemoteBroker } from "./nats-standalone.ts";
import { greeting, shopNats } from "./nats-world.fake.ts";

const pub = (subject: string): NatsOperation => ({ kind: "nats", verb: "pub", subject });
const allowed = pub("build.status.1042.ok");

let w: Awaited<ReturnType<typeof remoteWorld>>;
let remote: RemoteBroker | undefined;

beforeEach(async () => {
  w = await remoteWorld();
});
afterEach(async () => {
  await remote?.close();
  remote = undefined;
  await w.stop();
});

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "done",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );

async function admitted(gateway: RemoteBroker, job = "7712", target = "events"): Promise<Admission> {
  const { secret: password } = await w.password(job, target);
  return gateway.authority.admit(w.of({ secret: password }));
}

function published({ connection, target, account, record }: Admission, first: number): AuditEvent {
  const place = { gateway: "jobs", connection, target, account };
  const messages = ["status build.status.1042.ok - 0 128"];
  return { kind: "nats.published", ...record, data: { ...place, first, messages, bytes: 128, policy: "p" } };
}

describe("a gateway of its own process", () => {
  test("admits, attaches, decides and records as the broker itself does", async () => {
    remote = await w.connect();
    const { authority } = remote;
    const admission = await admitted(remote);
    expect(admission).toMatchObject({ target: "events", account: "CI", records: "durable" });
    expect(await authority.attach(admission, greeting)).toEqual({
      ticket: `wlt_${admission.connection}`,
      proxySignature: "signed nonce-1",
    });
    expect(authority.decide(admission, allowed)).toEqual(w.authority.decide(admission, allowed));
    const { closest: _here, ...here } = authority.decide(admission, pub("other"));
    const { closest: _there, ...there } = w.authority.decide(admission, pub("other"));
    expect(here).toEqual(there); // which role came nearest depends on the limits, and one is counted elsewhere
    await authority.append([published(admission, 1)]);
    authority.note(published(admission, 2));
    await authority.settled();
    expect(w.recorder.records.slice(-2)).toMatchObject([
      { kind: "nats.published", session: admission.session, job: { project: "acme/shop" }, data: { first: 1 } },
      { kind: "nats.published", data: { first: 2 } },
    ]);
  });

  test("admits by the job's own token, whose session the feed brings", async () => {
    remote = await w.connect();
    const admission = await remote.authority.admit(w.of({ secret: "token.1.1", user: "events" }));
    expect(remote.authority.decide(admission, allowed).effect).toBe("allow");
  });

  test("tells its clients the broker's own words, and records nothing about them twice", async () => {
    remote = await w.connect();
    await expect(remote.authority.admit(w.of({ secret: "hunter2" }))).rejects.toThrow(
      /neither one of `wayleave nats env`/,
    );
    expect(w.recorder.kinds()).toEqual(["nats.refused"]);
    const admission = await admitted(remote);
    await w.lifecycle.end(w.session(admission.session), "operator");
    expect(await code(remote.authority.attach(admission, greeting))).toBe("session_ended");
    expect(await code(remote.authority.attach({ ...admission, connection: "nc_x" }, greeting))).toBe(
      "credential_invalid",
    );
  });

  test("hears of ends, facts and policies as they come", async () => {
    remote = await w.connect();
    const { authority } = remote;
    const changes: SessionChange[] = [];
    authority.watch((change) => changes.push(change));
    const admission = await admitted(remote);
    await authority.attach(admission, greeting);
    const session = w.session(admission.session);
    const before = authority.epoch(session.id);
    w.world.facts["change.merged"] = true;
    await w.facts.refresh(session);
    await vi.waitFor(() => expect(authority.decide(admission, pub("release.done")).effect).toBe("allow"));
    expect(authority.epoch(session.id)).toBeGreaterThan(before);
    w.enforce(shopNats.replace('"sub deploy.events.*"', '"sub deploy.events.*", "pub new.*"'));
    await vi.waitFor(() => expect(authority.decide(admission, pub("new.x")).effect).toBe("allow"));
    expect(changes.map(({ kind }) => kind)).toContain("rights");
    await w.lifecycle.end(session, "job_finished");
    await vi.waitFor(() =>
      expect(changes.at(-1)).toEqual({
        kind: "ended",
        session: session.id,
        why: "job finished 0 s ago",
      }),
    );
    expect(authority.decide(admission, allowed)).toMatchObject({ effect: "deny", reason: "session_ended" });
    expect(authority.hardEndAt(session.id)).toBe(0);
  });

  test("decides by the candidate for its canary, and records where a candidate would not let through", async () => {
    remote = await w.connect();
    const { authority } = remote;
    const admission = await admitted(remote);
    await authority.attach(admission, greeting);
    const without = shopNats.replace('"pub build.status.${job.project_id}.*"', '"pub nothing.here"');
    w.tryBeside(without, []);
    await vi.waitFor(() => expect(authority.decide(admission, allowed).beside).toMatchObject({ outcome: "deny" }));
    expect(authority.decide(admission, allowed).effect).toBe("allow");
    await authority.settled();
    const noted = w.recorder.records.filter(({ kind }) => kind === "policy.disagreed");
    expect(noted).toMatchObject([{ session: admission.session, job: { project: "acme/shop" }, data: { count: 1 } }]);
    w.tryBeside(without, ["acme/shop"]);
    await vi.waitFor(() =>
      expect(authority.decide(admission, allowed)).toMatchObject({ effect: "deny", canary: true, reason: "no_role" }),
    );
  });

  test("has its own targets' sessions only", async () => {
    w.jobOf("token:8:1", "acme/plain", "3000");
    const other = await w.exchange("token:8:1");
    remote = await w.connect();
    const admission = await admitted(remote);
    w.jobOf("token:9:1", "acme/plain", "3000");
    const later = await w.exchange("token:9:1");
    await admitted(remote, "10"); // what was said before this has arrived with it
    for (const { session } of [other, later]) {
      expect(remote.authority.decide({ ...admission, session: session.id }, allowed).reason).toBe("session_unknown");
      expect(remote.authority.epoch(session.id)).toBe(Number.MAX_SAFE_INTEGER);
    }
  });

  test("refuses everything once the broker is away, tells of every session, and goes on when it is back", async () => {
    remote = await w.connect();
    const { authority } = remote;
    const admission = await admitted(remote);
    await authority.attach(admission, greeting);
    const changes: SessionChange[] = [];
    authority.watch((change) => changes.push(change));
    const before = authority.epoch(admission.session);
    await w.stop();
    expect(await code(authority.append([published(admission, 1)]))).toBe("journal_unavailable");
    await vi.waitFor(
      () => expect(authority.decide(admission, allowed)).toMatchObject({ effect: "deny", reason: "outage" }),
      {
        timeout: 2_000,
      },
    );
    const stale = authority.epoch(admission.session);
    expect(stale).toBeGreaterThan(before);
    expect(authority.hardEndAt(admission.session)).toBe(0); // so that its connections end, those that only listen too
    expect(changes.some(({ kind, session }) => kind === "changed" && session === admission.session)).toBe(true);
    expect(await code(authority.admit(w.of({ secret: "token.5.1" })))).toBe("broker_unreachable");
    expect(w.said.at(-1)).toContain("without it everything is refused");
    await w.start();
    await vi.waitFor(() => expect(authority.decide(admission, allowed).effect).toBe("allow"), { timeout: 5_000 });
    expect(authority.epoch(admission.session)).toBeGreaterThan(stale);
    await authority.append([published(admission, 1)]);
    expect(w.recorder.records.filter(({ kind }) => kind === "nats.published")).toHaveLength(1);
  });

  test("learns at its return what ended meanwhile", async () => {
    remote = await w.connect();
    const admission = await admitted(remote);
    await w.stop();
    await w.lifecycle.end(w.session(admission.session), "operator");
    const changes: SessionChange[] = [];
    remote.authority.watch((change) => changes.push(change));
    await w.start();
    await vi.waitFor(() => expect(changes.map(({ kind }) => kind)).toContain("ended"), { timeout: 5_000 });
    expect(remote.authority.decide(admission, allowed).reason).toBe("session_ended");
  });

  test("keeps what it noted while the broker was away, and records it once", async () => {
    remote = await w.connect();
    const admission = await admitted(remote);
    await remote.authority.attach(admission, greeting);
    await w.stop();
    remote.authority.note(published(admission, 7));
    await w.start();
    await remote.authority.settled();
    expect(w.recorder.records.filter(({ kind }) => kind === "nats.published")).toHaveLength(1);
  });

  test("counts limits of its own scope, and takes those of all gateways together for used up", async () => {
    const scoped = shopNats.replace("per: session }", "per: session, scope: gateway }");
    expect(scoped).not.toBe(shopNats);
    w.enforce(scoped);
    remote = await w.connect();
    const { authority } = remote;
    const admission = await admitted(remote);
    for (let use = 0; use < 2; use++) authority.count(authority.decide(admission, pub("slow.done")));
    expect(authority.decide(admission, pub("slow.done")).reason).toBe("limit_exceeded");
    w.enforce(shopNats);
    await vi.waitFor(() => expect(w.said.join()).toContain("role slow (policy.yaml:14) has a limit of scope global"));
    const { session } = await w.password("9");
    const other = { ...admission, session: session.id };
    await vi.waitFor(() => expect(authority.decide(other, pub("slow.done")).reason).toBe("limit_exceeded"));
    expect(authority.decide(other, allowed).effect).toBe("allow");
  });

  test("asks the broker to kick, and for totals; where it is away nothing was kicked", async () => {
    remote = await w.connect();
    const { control } = remote;
    expect(await control.kick("NSERVER", 7)).toBe(true);
    expect(await control.kick("NSERVER", 404)).toBe(false);
    expect(w.kicked).toEqual(["NSERVER 7", "NSERVER 404"]);
    expect(await control.totals("NSERVER", 7, 100)).toEqual({
      received: { messages: 1, bytes: 2 },
      sent: { messages: 3, bytes: 4 },
    });
    expect(await control.totals("NSERVER", 404, 100)).toBeUndefined();
    await w.stop();
    expect(await control.kick("NSERVER", 7)).toBe(false);
    expect(await control.totals("NSERVER", 7, 100)).toBeUndefined();
  });

  test("does not start with a wrong secret, an unknown name or nobody there, and says no secret", async () => {
    for (const wrong of [{ secret: "wrong" }, { name: "edge-2" }]) {
      const error = await w.connect(wrong).catch((refused: unknown) => refused);
      expect(error).toMatchObject({ code: "gateway_unauthenticated" });
      expect(String(error)).not.toContain(secret);
    }
    expect(w.refused).toHaveLength(2);
    await w.stop();
    expect(await code(w.connect())).toBe("broker_unreachable");
  });
});

describe("the routes refuse", () => {
  const call = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${w.url()}/v1/gateway/nats/${path}`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-wayleave-gateway": "jobs",
        "x-wayleave-gateway-secret": secret,
        ...headers,
      },
      body: JSON.stringify(body),
    });

  test.each(["admissions", "passes", "records", "kick", "totals"])("%s for nobody we know", async (path) => {
    const answer = await call(path, {}, { "x-wayleave-gateway-secret": "no" });
    expect(answer.status).toBe(403);
    expect(await answer.json()).toMatchObject({ code: "gateway_unauthenticated" });
  });

  test.each([
    ["admissions", { presented: {}, from: "x", client: {} }],
    ["admissions", { presented: { secret: "x", extra: 1 }, from: "x", client: {} }],
    ["admissions", { presented: { secret: "x".repeat(40_000) }, from: "x", client: {} }],
    ["passes", { connection: "nc_x" }],
    ["passes", { connection: "nc_x", upstream: { serverId: "", cid: 1, version: "1", nonce: "n" } }],
    ["records", { run: "short", events: [] }],
    ["records", { run: "12345678", events: [{ n: 0, event: {} }] }],
    ["kick", { serverId: "N", cid: -1 }],
    ["totals", { serverId: "N", cid: 1, timeoutMs: 9e9 }],
  ])("%s with %j", async (path, body) => {
    const answer = await call(path, body);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: "invalid_request" });
  });

  test("a feed that is not read is cut, rather than kept in memory", async () => {
    const { port } = new URL(w.url());
    const socket = connect(Number(port), "127.0.0.1");
    await once(socket, "connect");
    socket.pause();
    const head = `GET /v1/gateway/nats/feed HTTP/1.1\r\nhost: x\r\nx-wayleave-gateway: jobs\r\n`;
    socket.write(`${head}x-wayleave-gateway-secret: ${secret}\r\n\r\n`);
    await vi.waitFor(() => expect(w.followers()).toBe(1));
    w.flood(80);
    expect(w.followers()).toBe(0);
    socket.destroy();
  });
});
