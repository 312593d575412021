import { expect, test } from "vitest";
import { deltaRequest, discoveryWorld, proof, refusedBy, resourceName, settle, ttlMs } from "./discovery.fake.ts";
import { refusalsName } from "./refusals.ts";

const node = { id: "envoy-1", metadata: { wayleave: { gateway: "inner", policy: "p1" } } };
const first = deltaRequest({ node, resourceNamesSubscribe: [resourceName] });
type World = ReturnType<typeof discoveryWorld>;
type Stream = ReturnType<World["delta"]>;
const ack = (stream: Stream) => stream.send(deltaRequest({ responseNonce: stream.last.nonce }));
const nack = (stream: Stream, message: string) =>
  stream.send(deltaRequest({ responseNonce: stream.last.nonce, errorDetail: { code: 13, message } }));

/** A stream that has taken its first version. */
async function following(world: World): Promise<Stream> {
  const stream = world.delta();
  await stream.send(first);
  await ack(stream);
  return stream;
}

test("the first request is answered with the refusals, their version and their time to live", async () => {
  const world = discoveryWorld();
  world.end("ses_a");
  const stream = world.delta();
  await stream.send(first);
  expect(stream.got).toHaveLength(1);
  const [resource] = stream.last.resources;
  expect(resource).toMatchObject({ name: resourceName, version: "run.1", ttl: { seconds: 15n, nanos: 0 } });
  expect(stream.last.nonce).not.toBe("");
  expect(refusedBy(resource?.resource)).toEqual(["ses_a"]);
});

test("an end goes out within milliseconds, to every stream of the gateway", async () => {
  const world = discoveryWorld();
  const streams = [await following(world), await following(world)];
  world.end("ses_a");
  await world.time.pass(1);
  for (const stream of streams) {
    expect(stream.got).toHaveLength(2);
    expect(refusedBy(stream.last.resources[0]?.resource)).toEqual(["ses_a"]);
  }
});

test("a burst is one push, and the next waits its turn", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  for (let at = 0; at < 500; at++) world.end(`ses_${at}`);
  await world.time.pass(0);
  await ack(stream);
  expect(stream.got).toHaveLength(2);
  world.end("ses_late");
  await world.time.pass(4);
  expect(stream.got).toHaveLength(2);
  await world.time.pass(1);
  expect(stream.got).toHaveLength(3);
  expect(refusedBy(stream.last.resources[0]?.resource)).toHaveLength(501);
});

test("what nobody changes is sent again every third of the time to live, and still lives its whole life", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  for (let beat = 2; beat <= 5; beat++) {
    await world.time.pass(ttlMs / 3);
    expect(stream.got).toHaveLength(beat);
    expect(stream.last.resources[0]?.ttl).toMatchObject({ seconds: 15n });
    await ack(stream);
  }
});

test("who joins between two beats is given only what is left of the life of what it gets", async () => {
  const world = discoveryWorld();
  await following(world);
  await world.time.pass(4_000);
  const late = world.delta();
  await late.send(first);
  expect(late.last.resources[0]).toMatchObject({ version: "run.1", ttl: { seconds: 11n } });
});

test("a client that is slow to answer gets the newest state only, when it answers", async () => {
  const world = discoveryWorld();
  const stream = world.delta();
  await stream.send(first);
  for (const session of ["ses_a", "ses_b", "ses_c"]) {
    world.end(session);
    await world.time.pass(100);
  }
  expect(stream.got).toHaveLength(1);
  await ack(stream);
  expect(stream.got).toHaveLength(2);
  expect(refusedBy(stream.last.resources[0]?.resource)).toEqual(["ses_a", "ses_b", "ses_c"]);
});

test("a client that takes nothing off the wire is given the newest state only, when it does", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  await stream.stall(true);
  world.end("ses_a");
  await world.time.pass(1);
  for (let beat = 0; beat < 50; beat++) await world.time.pass(ttlMs / 3);
  world.end("ses_b");
  await world.time.pass(1);
  expect(stream.got).toHaveLength(2);
  await stream.stall(false);
  expect(stream.got).toHaveLength(3);
  expect(refusedBy(stream.last.resources[0]?.resource)).toEqual(["ses_a", "ses_b"]);
});

test("a client that never answers is told again at the beat", async () => {
  const world = discoveryWorld();
  const stream = world.delta();
  await stream.send(first);
  world.end("ses_a");
  await world.time.pass(ttlMs / 3 - 1);
  expect(stream.got).toHaveLength(1);
  await world.time.pass(1);
  expect(refusedBy(stream.last.resources[0]?.resource)).toEqual(["ses_a"]);
});

test("a refused version is told of, and not sent again; the next one is", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  world.end("ses_a");
  await world.time.pass(1);
  await nack(stream, "no such field\u001b[31m");
  await world.time.pass(100);
  expect(stream.got).toHaveLength(2);
  expect(world.seen.at(-1)).toBe("refused envoy-1 run.2 no such field\ufffd[31m");
  await world.time.pass(ttlMs / 3);
  expect(stream.got).toHaveLength(3);
});

test("an answer to an older response says nothing of the newest", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  const old = stream.last.nonce;
  world.end("ses_a");
  await world.time.pass(1);
  const before = world.seen.length;
  await stream.send(deltaRequest({ responseNonce: old, errorDetail: { code: 13, message: "late" } }));
  await stream.send(deltaRequest({ responseNonce: "999" }));
  await stream.send(deltaRequest({ errorDetail: { code: 13, message: "of nothing" } }));
  expect(world.seen).toHaveLength(before);
  await ack(stream);
  await ack(stream);
  expect(world.seen.slice(before)).toEqual(["heard envoy-1 run.2"]);
});

test("after a reconnect, what the client kept is not sent again, and a change is", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  await stream.drop();
  const again = world.delta();
  const kept = { ...first, initialResourceVersions: { [resourceName]: "run.1" } };
  await again.send(deltaRequest(kept));
  expect(again.got).toHaveLength(0);
  expect(world.seen.slice(-2)).toEqual(["+ inner envoy-1 p1", "heard envoy-1 run.1"]);
  world.end("ses_a");
  await world.time.pass(1);
  expect(again.got).toHaveLength(1);
});

test("what a client kept of another run of the broker is replaced at once", async () => {
  const world = discoveryWorld();
  const stream = world.delta();
  await stream.send(deltaRequest({ ...first, initialResourceVersions: { [resourceName]: "before.7" } }));
  expect(stream.got).toHaveLength(1);
  expect(world.seen.at(-1)).toBe("heard envoy-1 nothing");
});

test("subscribing again sends again; unsubscribing stops it", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  await stream.send(deltaRequest({ resourceNamesSubscribe: [resourceName] }));
  expect(stream.got).toHaveLength(2);
  await ack(stream);
  await stream.send(deltaRequest({ resourceNamesUnsubscribe: [resourceName] }));
  world.end("ses_a");
  await world.time.pass(ttlMs);
  expect(stream.got).toHaveLength(2);
});

test("a name that is not served is answered as removed, once", async () => {
  const world = discoveryWorld();
  const stream = world.delta();
  await stream.send(deltaRequest({ node, resourceNamesSubscribe: ["something", resourceName, "*"] }));
  expect(stream.last.removedResources).toEqual(["something", "*"]);
  expect(stream.last.resources.map(({ name }) => name)).toEqual([resourceName]);
  await ack(stream);
  await world.time.pass(ttlMs / 3);
  expect(stream.last.removedResources).toEqual([]);
});

test("the name says which policy was rendered where the node does not", async () => {
  const world = discoveryWorld();
  const stream = world.delta();
  const name = refusalsName("p7");
  await stream.send(deltaRequest({ node: { id: "bare" }, resourceNamesSubscribe: [name] }));
  expect(world.seen[0]).toBe("+ inner bare p7");
  expect(stream.last.resources[0]?.name).toBe(name);
});

test("a node's words are bounded, and only a version is taken for one", async () => {
  const world = discoveryWorld();
  const stream = world.delta();
  const metadata = { wayleave: { gateway: "inner", policy: "p1\n\u001b[2J" } };
  await stream.send(deltaRequest({ node: { id: `x\u0007${"y".repeat(1000)}`, metadata } }));
  expect(world.seen[0]).toBe(`+ inner x\ufffd${"y".repeat(198)} ?`);
});

const many = Array.from({ length: 17 }, (_, at) => refusalsName(`p${at}`));

test.each([
  { why: "nobody", metadata: {}, request: first, code: "gateway_unauthenticated" },
  { why: "a wrong secret", metadata: { ...proof("inner"), "x-wayleave-gateway-secret": "guess" }, request: first },
  { why: "another gateway's secret", metadata: { ...proof("other"), "x-wayleave-gateway": "inner" }, request: first },
  { why: "a gateway that does not exist", metadata: proof("outer"), request: first },
  { why: "a name sent twice", metadata: { ...proof("inner"), "x-wayleave-gateway": "inner, inner" }, request: first },
  {
    why: "a node rendered for another gateway",
    metadata: proof("other"),
    request: first,
    code: "gateway_unauthenticated",
  },
  {
    why: "another type",
    metadata: proof("inner"),
    request: deltaRequest({ node, typeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster" }),
    code: "invalid_request",
  },
  {
    why: "too many names",
    metadata: proof("inner"),
    request: deltaRequest({ node, resourceNamesSubscribe: many }),
    code: "invalid_request",
  },
  {
    why: "a name that is too long",
    metadata: proof("inner"),
    request: deltaRequest({ node, resourceNamesSubscribe: ["x".repeat(201)] }),
    code: "invalid_request",
  },
])("refuses $why", async ({ metadata, request, code = "gateway_unauthenticated" }) => {
  const world = discoveryWorld();
  const stream = world.delta(metadata);
  await stream.send(request);
  expect({ got: stream.got.length, ended: stream.ended, code: stream.failure() }).toEqual({
    got: 0,
    ended: true,
    code,
  });
});

test("names added one request at a time are bounded too", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  for (const name of many) await stream.send(deltaRequest({ resourceNamesSubscribe: [name] }));
  expect(stream.failure()).toBe("invalid_request");
});

test("who is not admitted leaves a record without what it sent, and a flood leaves a few", async () => {
  const world = discoveryWorld();
  for (let at = 0; at < 300; at++) world.delta({ "x-wayleave-gateway": "inner", "x-wayleave-gateway-secret": "guess" });
  await settle();
  expect(world.events).toHaveLength(10);
  expect(JSON.stringify(world.events)).not.toContain("guess");
  await world.time.pass(60_000);
  world.delta({});
  await settle();
  expect(world.events.at(-1)).toMatchObject({
    kind: "gateway.refused",
    data: { code: "gateway_unauthenticated", detail: expect.stringContaining("290 more before it") },
  });
});

test("a client that goes away leaves nothing behind: no timer, no listener, and it is said", async () => {
  const world = discoveryWorld();
  const streams = [await following(world), world.delta()];
  await streams[0]?.drop();
  await streams[1]?.drop();
  expect(world.time.waiting).toBe(0);
  expect(streams.map(({ ended, failure }) => [ended, failure()])).toEqual([
    [true, undefined],
    [true, undefined],
  ]);
  expect(world.seen.at(-1)).toBe("- inner envoy-1");
  world.end("ses_a");
  expect(world.time.waiting).toBe(0);
});

test("closing ends every stream", async () => {
  const world = discoveryWorld();
  const streams = [await following(world), world.delta(), world.sotw()];
  world.discovery.close();
  await settle();
  expect(streams.map(({ ended }) => ended)).toEqual([true, true, true]);
  expect(world.time.waiting).toBe(0);
});

test("refusals that cannot be made end the stream; nothing older is sent in their place", async () => {
  const world = discoveryWorld();
  const stream = await following(world);
  world.break(true);
  world.end("ses_a");
  await world.time.pass(1);
  expect(stream.ended).toBe(true);
  expect(stream.got).toHaveLength(1);
  world.break(false);
  const again = await following(world);
  expect(refusedBy(again.last.resources[0]?.resource)).toEqual(["ses_a"]);
});

test("more streams of one gateway than it may hold are refused, and go on when others end", async () => {
  const world = discoveryWorld();
  const streams = Array.from({ length: 1025 }, () => world.delta());
  await settle();
  expect(streams.filter(({ ended }) => ended)).toHaveLength(1);
  await streams[0]?.drop();
  const next = world.delta();
  await next.send(first);
  expect(next.got).toHaveLength(1);
  const other = world.delta(proof("other"));
  await other.send(deltaRequest({ resourceNamesSubscribe: [resourceName] }));
  expect(other.got).toHaveLength(1);
});
