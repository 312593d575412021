import { expect, onTestFinished, test, vi } from "vitest";
import type { Callout, CalloutAnswer } from "./callout.ts";
import { type CalloutConnection, type CalloutMessage, startCalloutResponder } from "./callout-responder.ts";

const settle = () => new Promise((resolve) => setImmediate(resolve));
const admitted: CalloutAnswer = { kind: "admitted", bytes: Buffer.from("yes") };

/** A nats.js connection that the test plays. */
function played(callout: Callout) {
  let deliver: (error: Error | null, message: CalloutMessage) => void = () => undefined;
  const statuses = Promise.withResolvers<void>();
  const queued: string[] = [];
  let wake = statuses;
  let closed = false;
  const end = Promise.withResolvers<void>();
  const calls: string[] = [];
  const connection: CalloutConnection = {
    subscribe(subject, options) {
      calls.push(`${subject} ${options.queue}`);
      deliver = options.callback;
      return {
        drain: async () => void calls.push("drain"),
        unsubscribe: () => void calls.push("unsubscribe"),
        isClosed: () => closed,
      };
    },
    flush: async () => undefined,
    async *status() {
      for (;;) {
        const type = queued.shift();
        if (type === "end") return;
        if (type !== undefined) yield { type };
        else {
          await wake.promise;
          wake = Promise.withResolvers();
        }
      }
    },
    closed: () => end.promise,
  };
  const faults: unknown[] = [];
  let now = 1_000;
  const responder = startCalloutResponder({
    connection,
    callout,
    now: () => now,
    onFault: (error) => faults.push(error),
  });
  const say = async (...types: readonly string[]) => {
    queued.push(...types);
    wake.resolve();
    await settle();
  };
  onTestFinished(() => say("end"));
  return {
    responder,
    calls,
    faults,
    say,
    tick: (ms: number) => {
      now += ms;
    },
    close() {
      closed = true;
      end.resolve();
    },
    subscriptionClosed() {
      closed = true;
    },
    deny: (error: Error) => deliver(error, undefined as unknown as CalloutMessage),
    ask(reply = true, peer?: string) {
      const answers: string[] = [];
      deliver(null, {
        data: Buffer.from("x"),
        headers: peer === undefined ? undefined : { get: (name) => (name === "Nats-Server-Xkey" ? peer : "") },
        respond(bytes) {
          answers.push(Buffer.from(bytes).toString());
          return reply;
        },
      });
      return answers;
    },
  };
}

test("it joins the queue group, answers, and counts", async () => {
  const callout = vi.fn<Callout>(() => admitted);
  const { responder, ask, calls } = played(callout);
  await settle();
  expect(calls).toEqual(["$SYS.REQ.USER.AUTH wayleave"]);
  expect(responder.health()).toEqual({ answering: true, since: 1_000 });
  expect(ask(true, "XPEER")).toEqual(["yes"]);
  expect(ask()).toEqual(["yes"]);
  expect(callout.mock.calls.map(([, peer]) => peer)).toEqual(["XPEER", undefined]);
  expect(responder.counts()).toEqual({ admitted: 2, refused: 0, dropped: {}, pending: 0 });
});

test("what is dropped is not answered", () => {
  const { responder, ask } = played(() => ({ kind: "dropped", reason: "late" }));
  expect(ask()).toEqual([]);
  expect(responder.counts().dropped).toEqual({ late: 1 });
});

test.each<{ what: string; callout: Callout }>([
  {
    what: "throws",
    callout: () => {
      throw new Error("no");
    },
  },
  { what: "rejects", callout: () => Promise.reject(new Error("no")) },
])("a callout that $what stops nothing: it is told, counted, and the next one is served", async ({ callout }) => {
  let failing = true;
  const { responder, ask, faults } = played((...given) => (failing ? callout(...given) : admitted));
  expect(ask()).toEqual([]);
  await settle();
  expect([faults, responder.counts().dropped, responder.counts().pending]).toEqual([
    [new Error("no")],
    { failed: 1 },
    0,
  ]);
  failing = false;
  expect(ask()).toEqual(["yes"]);
});

test("a request that nobody waits for is a failure", () => {
  const { responder, ask } = played(() => admitted);
  ask(false);
  expect(responder.counts()).toMatchObject({ admitted: 0, dropped: { failed: 1 } });
});

test("it knows since when it does not answer, and that it does again", async () => {
  const { responder, say, tick } = played(() => admitted);
  await settle();
  tick(500);
  await say("disconnect");
  tick(500);
  await say("staleConnection", "reconnecting");
  expect(responder.health()).toEqual({ answering: false, since: 1_500, why: "there is no connection to nats-server" });
  await say("reconnect");
  expect(responder.health()).toEqual({ answering: true, since: 2_000 });
});

test("a user who may not subscribe is no responder, also after a reconnect", async () => {
  const { responder, say, deny, subscriptionClosed, faults } = played(() => admitted);
  await settle();
  deny(new Error("permissions violation"));
  subscriptionClosed();
  await say("reconnect");
  expect(responder.health()).toMatchObject({ answering: false, why: expect.stringContaining("subscribe") });
  expect(faults).toHaveLength(1);
});

test("a connection that was closed for good does not answer again", async () => {
  const { responder, say, close } = played(() => admitted);
  await settle();
  close();
  await settle();
  await say("reconnect");
  expect(responder.health()).toMatchObject({ answering: false, why: "the connection to nats-server was closed" });
});

test("stopping waits for what is under way, and takes nothing more", async () => {
  const later = Promise.withResolvers<CalloutAnswer>();
  const { responder, ask, calls, say } = played(() => later.promise);
  await settle();
  const answers = ask();
  expect(responder.counts().pending).toBe(1);
  const stopping = responder.stop();
  later.resolve(admitted);
  await stopping;
  expect([answers, calls.at(-1), responder.counts().pending]).toEqual([["yes"], "drain", 0]);
  await say("reconnect");
  expect(responder.health()).toMatchObject({ answering: false, why: "it was stopped" });
});

test("without a connection stopping waits for no server", async () => {
  const { responder, say, calls } = played(() => admitted);
  await settle();
  await say("disconnect");
  await responder.stop();
  expect(calls.at(-1)).toBe("unsubscribe");
});
