import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ResourceSchema } from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { discoveryWorld, proof, refusedBy, resourceName, sotwRequest, ttlMs } from "./discovery.fake.ts";

const node = { id: "envoy-1", metadata: { wayleave: { gateway: "inner" } } };
const first = sotwRequest({ node, resourceNames: [resourceName] });
type Stream = ReturnType<ReturnType<typeof discoveryWorld>["sotw"]>;
const answer = (stream: Stream, more: Parameters<typeof sotwRequest>[0] = {}) =>
  stream.send(
    sotwRequest({
      versionInfo: stream.last.versionInfo,
      responseNonce: stream.last.nonce,
      resourceNames: [resourceName],
      ...more,
    }),
  );
const wrapped = (stream: Stream) => stream.last.resources.map(({ value }) => fromBinary(ResourceSchema, value));

test("every response holds all that was asked for, each with its name, version and time to live", async () => {
  const world = discoveryWorld();
  world.end("ses_a");
  const stream = world.sotw();
  await stream.send(first);
  const [resource] = wrapped(stream);
  expect(resource).toMatchObject({ name: resourceName, version: "run.1", ttl: { seconds: 15n } });
  expect(refusedBy(resource?.resource)).toEqual(["ses_a"]);
  expect(stream.last.versionInfo).toBe("run.1");
});

test("an end goes out within milliseconds, and the beat keeps it alive", async () => {
  const world = discoveryWorld();
  const stream = world.sotw();
  await stream.send(first);
  await answer(stream);
  world.end("ses_a");
  await world.time.pass(1);
  expect(refusedBy(wrapped(stream)[0]?.resource)).toEqual(["ses_a"]);
  await answer(stream);
  await world.time.pass(ttlMs / 3);
  expect(stream.got).toHaveLength(3);
});

test("a refused version stays refused until there is another", async () => {
  const world = discoveryWorld();
  const stream = world.sotw();
  await stream.send(first);
  await answer(stream);
  world.end("ses_a");
  await world.time.pass(1);
  await answer(stream, { versionInfo: "run.1", errorDetail: { code: 13, message: "no" } });
  expect(stream.got).toHaveLength(2);
  expect(world.seen.at(-1)).toBe("refused envoy-1 run.2 no");
  await world.time.pass(ttlMs / 3);
  expect(stream.got).toHaveLength(3);
});

test("names of an older answer change nothing; a new name is answered at once, fewer names are not", async () => {
  const world = discoveryWorld();
  const stream = world.sotw();
  await stream.send(first);
  await answer(stream);
  await answer(stream, { responseNonce: "0", resourceNames: [] });
  await answer(stream, { resourceNames: [resourceName, `${resourceName}b`] });
  expect(wrapped(stream).map(({ name }) => name)).toEqual([resourceName, `${resourceName}b`]);
  await answer(stream, { resourceNames: [`${resourceName}b`] });
  expect(stream.got).toHaveLength(2);
  world.end("ses_a");
  await world.time.pass(1);
  expect(wrapped(stream).map(({ name }) => name)).toEqual([`${resourceName}b`]);
});

test("a name that is not served is left out, and nothing is said to who asks for nothing", async () => {
  const world = discoveryWorld();
  const stream = world.sotw();
  await stream.send(sotwRequest({ node }));
  expect(stream.got).toHaveLength(0);
  const other = world.sotw();
  await other.send(sotwRequest({ node, resourceNames: ["something", "wayleave_refusals/", "wayleave_refusals/a b"] }));
  expect(other.last.resources).toEqual([]);
});

test("what it took already is not sent again on a new stream", async () => {
  const world = discoveryWorld();
  const stream = world.sotw();
  await stream.send(first);
  const again = world.sotw();
  await again.send(sotwRequest({ ...first, versionInfo: "run.1" }));
  expect(again.got).toHaveLength(0);
  expect(world.seen.at(-1)).toBe("heard envoy-1 run.1");
});

test.each([
  { why: "without proof", metadata: {}, request: first, code: "gateway_unauthenticated" },
  { why: "of another gateway's node", metadata: proof("other"), request: first, code: "gateway_unauthenticated" },
  {
    why: "for another type",
    metadata: proof("inner"),
    request: sotwRequest({ node, typeUrl: "type.googleapis.com/envoy.config.listener.v3.Listener" }),
    code: "invalid_request",
  },
  {
    why: "with endless names",
    metadata: proof("inner"),
    request: sotwRequest({ node, resourceNames: Array.from({ length: 17 }, (_, at) => `n${at}`) }),
    code: "invalid_request",
  },
])("refuses a stream $why", async ({ metadata, request, code }) => {
  const stream = discoveryWorld().sotw(metadata);
  await stream.send(request);
  expect([stream.got.length, stream.failure()]).toEqual([0, code]);
});
