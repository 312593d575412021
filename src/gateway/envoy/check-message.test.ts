import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CheckRequest, CheckRequestSchema } from "../../proto/envoy/service/auth/v3/external_auth_pb.ts";
import { kind, kindOf } from "./check-header-kind.ts";
import { type CheckMessage, readCheckMessage } from "./check-message.ts";
import { readHeader, startReading } from "./check-request.ts";

/** The same reading by the schema. */
function bySchema({ attributes }: CheckRequest): CheckMessage {
  const http = attributes?.request?.http;
  const headers = startReading();
  for (const { key, value, rawValue } of http?.headerMap?.headers ?? []) {
    const found = kindOf(key);
    if (found === kind.plain) continue;
    readHeader(headers, found, key, rawValue.length === 0 ? value : Buffer.from(rawValue).toString("latin1"));
  }
  return {
    target: attributes?.contextExtensions.target ?? "",
    principal: attributes?.source?.principal ?? "",
    http: http !== undefined,
    method: http?.method ?? "",
    path: http?.path ?? "",
    host: http?.host ?? "",
    headerMap: http?.headerMap !== undefined,
    headers,
  };
}

const text = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }).map((value) => value.toWellFormed()),
);
const name = fc.oneof(
  fc.constantFrom(
    "authorization",
    "Txn-Token",
    "x_wayleave_role",
    "upgrade",
    "content-type",
    ":path",
    "host",
    "accept",
  ),
  text,
);
const header = fc.record({ key: name, value: text, rawValue: fc.uint8Array({ maxLength: 40 }) }, { requiredKeys: [] });
const request = fc
  .record(
    {
      source: fc.record({ principal: text }, { requiredKeys: [] }),
      contextExtensions: fc.dictionary(fc.oneof(fc.constant("target"), text), text),
      request: fc.record(
        {
          http: fc.record(
            {
              method: text,
              path: text,
              host: text,
              headers: fc.dictionary(text, text),
              headerMap: fc.record({ headers: fc.array(header, { maxLength: 8 }) }, { requiredKeys: [] }),
            },
            { requiredKeys: [] },
          ),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: [] },
  )
  .map((attributes) => toBinary(CheckRequestSchema, create(CheckRequestSchema, { attributes } as object)));

const schemaReads = (bytes: Uint8Array) => bySchema(fromBinary(CheckRequestSchema, bytes));

function readOrRefused(bytes: Uint8Array): void {
  try {
    readCheckMessage(bytes);
  } catch (error) {
    expect(error).toMatchObject({ name: "GrpcError", status: 13 });
  }
}

describe("a message read by hand", () => {
  test("says what the schema says", () => {
    fc.assert(
      fc.property(request, (bytes) => {
        expect(readCheckMessage(bytes)).toEqual(schemaReads(bytes));
      }),
    );
  });

  test("may be several, merged as protobuf merges them", () => {
    fc.assert(
      fc.property(request, request, (one, other) => {
        const bytes = Buffer.concat([one, other]);
        expect(readCheckMessage(bytes)).toEqual(schemaReads(bytes));
      }),
    );
  });

  // Not compared with the schema's reading, which lets a field of a nested message run past its end.
  test("and damaged fails in one way, if it fails", () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(request, damage, fc.nat(), (whole, changes, cut) => {
        const bytes = Buffer.from(whole).subarray(0, whole.length - (cut % (whole.length + 1)));
        for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        readOrRefused(bytes);
      }),
      { numRuns: 1_000 },
    );
  });

  test("of any bytes fails in one way, if it fails", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), readOrRefused), { numRuns: 1_000 });
  });

  test.each<{ what: string; bytes: readonly number[] }>([
    { what: "a length past the end", bytes: [0x0a, 5, 0] },
    { what: "a length past its message", bytes: [0x0a, 3, 0x22, 5, 0, 0, 0, 0, 0] },
    { what: "a length without end", bytes: [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01] },
    { what: "a tag cut short", bytes: [0x8a] },
    { what: "field 0", bytes: [0x02, 0] },
    { what: "a group", bytes: [0x0b, 0x0c] },
    { what: "an unknown wire type", bytes: [0x0f] },
    { what: "attributes that are a number", bytes: [0x08, 1] },
    { what: "a number without end", bytes: [0x78, ...Array(11).fill(0xff)] },
    {
      what: "a target that is no UTF-8",
      bytes: [0x0a, 0x0d, 0x52, 0x0b, 0x0a, 6, ...Buffer.from("target"), 0x12, 1, 0xff],
    },
  ])("with $what is none", ({ bytes }) => {
    expect(() => readCheckMessage(Uint8Array.from(bytes))).toThrow("no envoy.service.auth.v3.CheckRequest");
  });

  test("skips fields that it does not know, of every other wire type", () => {
    const known = toBinary(
      CheckRequestSchema,
      create(CheckRequestSchema, { attributes: { source: { principal: "p" } } }),
    );
    const unknown = [0x78, 0xff, 0x01, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7d, 1, 2, 3, 4, 0x7a, 2, 0xff, 0xfe];
    expect(readCheckMessage(Buffer.from([...unknown, ...known, ...unknown])).principal).toBe("p");
  });
});
