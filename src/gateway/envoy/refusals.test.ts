import { fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Refusals, refusalsConfig } from "./refusals.ts";
import { refusalsRegistry as registry } from "./refusals-registry.ts";

const some: Refusals = {
  sessions: ["ses_b", "ses_a"],
  tokens: ["jti-1"],
  kids: ["k2", "k1"],
  validUntil: 1_795_000_000_000,
};
const config = (refusals: Partial<Refusals> = {}) => refusalsConfig({ ...some, ...refusals }, "0123456789ab");
const text = (refusals: Partial<Refusals> = {}) => JSON.stringify(config(refusals));

test("names the policy it is for", () => {
  expect(config().name).toBe("wayleave_refusals/0123456789ab");
});

test("order and doubles change nothing", () => {
  const names = fc.array(fc.constantFrom("a", "b", "c", "d"));
  fc.assert(
    fc.property(names, names, names, (sessions, tokens, kids) => {
      const doubled = (list: readonly string[]) => [...list, ...list].reverse();
      expect(text({ sessions: doubled(sessions), tokens: doubled(tokens), kids: doubled(kids) })).toBe(
        text({ sessions, tokens, kids }),
      );
    }),
  );
});

test("is the same after it went over gRPC", () => {
  const any = fromJson(AnySchema, config().typed_config ?? null, { registry });
  const back = toJson(AnySchema, fromBinary(AnySchema, toBinary(AnySchema, any)), {
    registry,
    useProtoFieldName: true,
  });
  const again = fromJson(AnySchema, back, { registry });
  expect(toBinary(AnySchema, again)).toEqual(toBinary(AnySchema, any));
  expect(JSON.stringify(back)).toContain("2026-11-18");
  for (const word of ["ses_a", "ses_b", "jti-1", '"k1"', '"k2"', "session_ended", "token_revoked"]) {
    expect(JSON.stringify(back)).toContain(word);
  }
});

test("names that objects have are only names", () => {
  expect(text({ sessions: ["__proto__", "constructor"] })).toContain('"__proto__"');
});

test("every node of an expression has its own id", () => {
  const ids = [...text().matchAll(/"id":"(\d+)"/g)].map(([, id]) => id);
  expect(ids.length).toBeGreaterThan(10);
  const [time = "", keys = ""] = text().split("refusals_stale");
  for (const part of [time, keys]) {
    const own = [...part.matchAll(/"id":"(\d+)"/g)].map(([, id]) => id);
    expect(new Set(own).size).toBe(own.length);
  }
});

test("a time that is none is refused, not rendered", () => {
  expect(() => config({ validUntil: Number.NaN })).toThrow();
});

test("without a live key everything is refused", () => {
  expect(text({ kids: [] })).toContain('"elements":[]');
});

test("empty lists make no map: Envoy takes none", () => {
  expect(text({ sessions: [], tokens: [] })).not.toContain("exact_match_map");
});
