import { describe, expect, test } from "vitest";
import type { AuditRecord } from "../core/record.ts";
import { findMinted, type MintedRecord, svidText } from "./svid-show.ts";

const minted = (at: number, data: Partial<MintedRecord["data"]>): MintedRecord => ({
  v: 1,
  id: `rec_${at}`,
  seq: at,
  time: "2026-11-24T09:30:00.000Z",
  kind: "svid.minted",
  session: "ses_0000000000000001",
  job: { issuer: "gitlab", project_id: "1042", project: "acme/shop", pipeline_id: "1", job_id: String(7000 + at) },
  data: {
    type: "x509",
    spiffe_id: "spiffe://acme.example/role/release",
    signer: "ca",
    expires_at: 0,
    serial: (0x40_00_00_00 + at).toString(16),
    ...data,
  },
});

/** Newest first, in pages, as the broker answers. */
function operator(records: readonly AuditRecord[]) {
  const asked: string[] = [];
  return {
    asked,
    async get<T>(path: string): Promise<T> {
      asked.push(path);
      const query = new URLSearchParams(path.split("?")[1]);
      const from = records.findIndex(({ id }) => id === query.get("before")) + 1;
      return { records: records.slice(from, from + Number(query.get("limit"))) } as T;
    },
  };
}

const many = Array.from({ length: 2500 }, (_, at) => minted(2500 - at, {}));
const jwt = minted(3000, { type: "jwt", jti: "abcd", spiffe_id: "spiffe://acme.example/role/read" });

describe("an SVID is found", () => {
  test.each([
    ["40000007", "7007"],
    ["40:00:00:07", "7007"],
    ["serial=40000007", "7007"],
    ["0x40000007", "7007"],
    ["0040000007", "7007"],
    ["4000000A", "7010"],
  ])("by its serial, written %s", async (serial, job) => {
    const found = await findMinted(operator(many), serial, 20);
    expect(found.map((record) => record.job?.job_id)).toEqual([job]);
  });

  test("by its jti, even where that could be a serial", async () => {
    expect(await findMinted(operator([jwt, ...many]), "abcd", 20)).toEqual([jwt]);
  });

  test("by its SPIFFE ID, the newest first and no more than asked for", async () => {
    const of = operator([jwt, ...many]);
    const found = await findMinted(of, "spiffe://acme.example/role/release", 3);
    expect(found.map(({ seq }) => seq)).toEqual([2500, 2499, 2498]);
    expect(of.asked).toHaveLength(1);
    expect(await findMinted(of, "spiffe://acme.example/role/read", 3)).toEqual([jwt]);
  });
});

test.each(["40009999", "nonsense", "", "0", "spiffe://acme.example/role/other"])("%j is not found", async (asked) => {
  await expect(findMinted(operator(many), asked, 20)).rejects.toMatchObject({ code: "record_not_found" });
});

test.each(["spiffe://acme.example", "spiffe:nonsense"])("%j is no SPIFFE ID", async (asked) => {
  await expect(findMinted(operator(many), asked, 20)).rejects.toMatchObject({ code: "invalid_request" });
});

test("one is shown with its job, and nothing in it steers the terminal", () => {
  const text = svidText((_style, of) => of, minted(7, { role: "re\u001b[31mlease" }));
  expect(text).toMatch(/X\.509-SVID {2}spiffe:\/\/acme\.example\/role\/release\n/);
  expect(text).toMatch(/job +acme\/shop job #7007 \(gitlab\)/);
  expect(text).toMatch(/serial +40000007/);
  expect(text).not.toContain("\u001b");
});
