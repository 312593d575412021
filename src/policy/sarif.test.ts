import fc from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import { codeQualityReport } from "./code-quality.ts";
import { fingerprints } from "./fingerprint.ts";
import type { Diagnostic } from "./model.ts";
import { parsePolicy } from "./parse.ts";
import { sarifLog } from "./sarif.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const positive = z.int().min(1);
const message = z.strictObject({ text: z.string() });
const place = z.strictObject({
  artifactLocation: z.strictObject({ uri: z.string().regex(/^[\w.~%!*'()/:-]+$/) }),
  region: z
    .strictObject({ startLine: positive, startColumn: positive, endColumn: positive })
    .refine(({ startColumn, endColumn }) => endColumn > startColumn),
});
/** What SARIF 2.1.0 says of the members that we write (§3.13 to §3.30), and no others: a misspelt one is no member of it. */
const Log = z.strictObject({
  $schema: z.url(),
  version: z.literal("2.1.0"),
  runs: z.array(
    z.strictObject({
      tool: z.strictObject({
        driver: z.strictObject({
          name: z.string(),
          semanticVersion: z.string().regex(/^\d+\.\d+\.\d+/),
          rules: z.array(z.strictObject({ id: z.string(), shortDescription: message })),
        }),
      }),
      columnKind: z.enum(["utf16CodeUnits", "unicodeCodePoints"]),
      results: z.array(
        z.strictObject({
          ruleId: z.string(),
          ruleIndex: z.int().min(0),
          level: z.enum(["none", "note", "warning", "error"]),
          message,
          locations: z.array(z.strictObject({ physicalLocation: place })),
          partialFingerprints: z.record(z.string(), z.string()),
        }),
      ),
    }),
  ),
});

const text = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read: { for: [shopp], allow: { billing: [GET /] } }
  write: { for: [shop], allow: { biling: [GET /], bilings: [GET /] } }
`;
const check = (written: string, name = "policy/shop.yaml") => {
  const { diagnostics } = parsePolicy({ files: [{ name, text: written }], vocabulary: fakeVocabulary });
  return { diagnostics, sources: new Map([[name, written]]) };
};
const printsOf = (written: string) => {
  const { diagnostics, sources } = check(written);
  return fingerprints(diagnostics, sources);
};

test("findings are a SARIF log as its schema wants it, each at its own place", () => {
  const { diagnostics, sources } = check(text);
  const log = sarifLog(diagnostics, sources, "1.2.3");
  expect(Log.parse(log).runs[0]?.results.map(({ ruleIndex }) => ruleIndex)).toEqual([1, 0, 0]);
  expect(diagnostics).toHaveLength(3);
  expect(log).toMatchObject({
    version: "2.1.0",
    runs: [
      {
        columnKind: "unicodeCodePoints",
        results: [
          {
            ruleId: "who_unknown",
            level: "error",
            message: { text: expect.stringContaining('did you mean "shop"?') },
            locations: [
              {
                physicalLocation: {
                  artifactLocation: { uri: "policy/shop.yaml" },
                  region: { startLine: 5, startColumn: 17, endColumn: 22 },
                },
              },
            ],
          },
          {},
          {},
        ],
      },
    ],
  });
});

test("no findings are a log all the same, or code scanning would keep the old ones", () => {
  const log = sarifLog([], new Map(), "1.2.3");
  expect(Log.parse(log)).toMatchObject({ runs: [{ results: [] }] });
  expect(codeQualityReport([], new Map())).toEqual([]);
});

test("any finding anywhere is a valid result, and its file a URI", () => {
  const diagnostic: fc.Arbitrary<Diagnostic> = fc.record(
    {
      severity: fc.constantFrom("error", "warning"),
      code: fc.stringMatching(/^[a-z_]{1,20}$/),
      message: fc.string(),
      place: fc.record({
        file: fc.string({ minLength: 1 }),
        line: fc.integer({ min: 1 }),
        column: fc.integer({ min: 1, max: 10_000 }),
        length: fc.integer({ min: 1, max: 10_000 }),
      }),
      help: fc.string(),
    },
    { requiredKeys: ["severity", "code", "message", "place"] },
  );
  fc.assert(
    fc.property(fc.array(diagnostic, { maxLength: 5 }), (list) => {
      const [run] = Log.parse(sarifLog(list, new Map(), "1.2.3")).runs;
      expect(run?.results.map(({ ruleIndex }) => run.tool.driver.rules[ruleIndex]?.id)).toEqual(
        list.map(({ code }) => code),
      );
    }),
  );
});

test("a report for GitLab has what Code Quality asks of each finding", () => {
  const { diagnostics, sources } = check(text);
  const report = codeQualityReport(diagnostics, sources);
  expect(report[0]).toEqual({
    description: expect.stringContaining("shopp"),
    check_name: "who_unknown",
    fingerprint: expect.stringMatching(/^[0-9a-f]{32}$/),
    severity: "major",
    location: { path: "policy/shop.yaml", lines: { begin: 5 } },
  });
});

test("a fingerprint stays when lines come and go around a finding, and is nobody else's", () => {
  const known = printsOf(text);
  expect(new Set(known).size).toBe(3);
  expect(printsOf(text.replace("roles:", "# a word\n\nroles:"))).toEqual(known);
  expect(printsOf(text.replace("  read:", "   read:").replace("  write:", "   write:"))).toEqual(known);
  const other = printsOf(text.replace("shopp", "shoppp"));
  expect(other[0]).not.toBe(known[0]);
  expect(other.slice(1)).toEqual(known.slice(1));
});
