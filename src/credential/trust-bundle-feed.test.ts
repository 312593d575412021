import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { AuditEvent } from "../core/record.ts";
import { startedAt } from "./ca.fake.ts";
import { foreignDomain } from "./trust-bundle.fake.ts";
import { parseTrustBundle } from "./trust-bundle.ts";
import { openBundleFeed } from "./trust-bundle-feed.ts";

const mesh = await foreignDomain("mesh.example");

function setUp(first: { bootstrap?: string; url?: boolean } = {}) {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-bundle-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const made = {
    dir,
    now: startedAt,
    events: [] as AuditEvent[],
    changes: 0,
    answer: (() => new Response(mesh.bundle(1))) as () => Response | Promise<Response>,
    asked: 0,
    open: (bootstrap = first.bootstrap) =>
      openBundleFeed({
        dir,
        clock: { now: () => made.now },
        note: (event) => made.events.push(event),
        onChange: () => {
          made.changes++;
        },
        domain: {
          trustDomain: "mesh.example",
          ...(first.url === false ? {} : { url: "https://mesh.example/bundle" }),
          ...(bootstrap === undefined ? {} : { bootstrap }),
          fetch: async () => {
            made.asked++;
            return made.answer();
          },
        },
      }),
  };
  return made;
}

describe("a bundle that is followed", () => {
  test("is read at once, recorded, and read again when it says so", async () => {
    const h = setUp();
    h.answer = () => new Response(mesh.bundle(1, { spiffe_refresh_hint: 60 }));
    const feed = await h.open();
    expect(feed.current()).toBeUndefined();
    await feed.sweep();
    expect(feed.current()).toMatchObject({ sequence: 1, refreshSeconds: 60 });
    expect([h.events, h.changes]).toEqual([
      [{ kind: "bundle.read", data: { trust_domain: "mesh.example", sequence: 1 } }],
      1,
    ]);
    h.now += 59_000;
    await feed.sweep();
    expect(h.asked).toBe(1);
    h.now += 1000;
    await feed.sweep();
    expect([h.asked, h.events.length, h.changes]).toEqual([2, 1, 1]);
  });

  test("begins with the operator's file, and is still known after a restart", async () => {
    const h = setUp({ bootstrap: mesh.bundle(3) });
    h.answer = () => new Response(mesh.bundle(5));
    const feed = await h.open();
    expect(feed.current()?.sequence).toBe(3);
    await feed.sweep();
    expect((await h.open()).current()?.sequence).toBe(5);
  });

  test("follows the operator's file where that was changed since", async () => {
    const h = setUp({ bootstrap: mesh.bundle(3) });
    h.answer = () => new Response(mesh.bundle(5));
    await (await h.open()).sweep();
    expect((await h.open(mesh.bundle(1))).current()?.sequence).toBe(1);
  });

  test("survives a damaged file of its own", async () => {
    const h = setUp({ bootstrap: mesh.bundle(3) });
    h.answer = () => new Response(mesh.bundle(5));
    await (await h.open()).sweep();
    writeFileSync(join(h.dir, "mesh.example.json"), readFileSync(join(h.dir, "mesh.example.json")).subarray(0, 40));
    expect((await h.open()).current()?.sequence).toBe(3);
  });

  test("is believed at once where it revokes everything", async () => {
    const h = setUp();
    const feed = await h.open();
    await feed.sweep();
    h.answer = () => new Response('{"keys":[],"spiffe_sequence":2}');
    h.now += 3_600_000;
    await feed.sweep();
    expect([feed.current()?.roots, feed.current()?.jwtKeys.size]).toEqual([[], 0]);
  });

  test("stands still without an address", async () => {
    const h = setUp({ bootstrap: mesh.bundle(3), url: false });
    const feed = await h.open();
    await feed.sweep();
    expect([h.asked, feed.current()?.sequence]).toEqual([0, 3]);
  });
});

describe("a reading that is refused, recorded once, and leaves what was good", () => {
  test.each<[string, () => Response | Promise<Response>, RegExp]>([
    ["a sequence that goes backwards", () => new Response(mesh.bundle(6)), /backwards, from sequence 7 to 6/],
    ["a sequence that is gone", () => new Response(mesh.bundle()), /no sequence any more/],
    ["no JSON", () => new Response("<html>"), /is not JSON/],
    ["no bundle", () => new Response("[]"), /is no SPIFFE bundle/],
    ["too much", () => new Response("x".repeat(1024 * 1024 + 1)), /more than/],
    ["HTTP 404", () => new Response("", { status: 404 }), /HTTP 404/],
    ["a redirect", () => new Response("", { status: 302, headers: { location: "https://evil" } }), /HTTP 302/],
    ["silence", () => Promise.reject(new TypeError("timeout with a secret")), /does not answer/],
  ])("%s", async (_of, answer, says) => {
    const h = setUp({ bootstrap: mesh.bundle(7) });
    h.answer = answer;
    const feed = await h.open();
    for (let round = 0; round < 3; round++) {
      await feed.sweep();
      h.now += 30_000;
    }
    expect(h.asked).toBe(3);
    expect(feed.current()?.sequence).toBe(7);
    expect(feed.problem()).toMatch(says);
    expect(h.events).toEqual([
      {
        kind: "bundle.read",
        data: { trust_domain: "mesh.example", sequence: 7, problem: expect.stringMatching(says) },
      },
    ]);
    expect(JSON.stringify(h.events)).not.toContain("secret");
    h.answer = () => new Response(mesh.bundle(8));
    await feed.sweep();
    expect([feed.current()?.sequence, feed.problem()]).toEqual([8, undefined]);
  });

  test("a sequence that goes backwards over a restart", async () => {
    const h = setUp();
    h.answer = () => new Response(mesh.bundle(9));
    await (await h.open()).sweep();
    h.answer = () => new Response(mesh.bundle(8));
    const feed = await h.open();
    await feed.sweep();
    expect([feed.current()?.sequence, feed.problem()]).toEqual([9, expect.stringMatching(/backwards/)]);
  });

  test("a bootstrap that cannot be read stops the start", async () => {
    await expect(setUp({ bootstrap: "{}" }).open()).rejects.toMatchObject({ code: "bundle_invalid" });
  });
});

describe("parseTrustBundle", () => {
  const { root, jwk } = mesh;
  const parse = (...keys: object[]) => parseTrustBundle("mesh.example", JSON.stringify({ keys }));

  test("leaves out what it does not know, as the specification says", () => {
    const bundle = parse(root, jwk, { kty: "EC", use: "wit-svid" }, { kty: "OKP", use: "jwt-svid" }, { kty: "EC" });
    expect([bundle.roots.length, bundle.jwtKeys.size, bundle.document.keys.length]).toEqual([1, 1, 2]);
  });

  test.each<[string, readonly object[], RegExp]>([
    ["no certificate", [{ ...root, x5c: undefined }], /exactly one certificate/],
    ["two certificates", [{ ...root, x5c: [root.x5c, root.x5c].flat() }], /exactly one certificate/],
    ["a damaged certificate", [{ ...root, x5c: ["AAAA"] }], /damaged or no CA/],
    ["a JWT key without kid", [{ ...jwk, kid: undefined }], /without kid/],
    ["two JWT keys of one kid", [jwk, jwk], /two jwt-svid keys/],
    ["a damaged JWT key", [{ ...jwk, x: "AA" }], /damaged/],
    ["a private key", [{ ...jwk, d: "AA" }], /private or symmetric/],
    ["a shared key", [{ kty: "oct", k: "AA", use: "jwt-svid" }], /private or symmetric/],
    ["more keys than anybody has", Array.from({ length: 101 }, () => ({ kty: "EC" })), /is no SPIFFE bundle/],
  ])("refuses %s", (_of, keys, says) => {
    expect(() => parse(...keys)).toThrow(
      expect.objectContaining({ code: "bundle_invalid", message: expect.stringMatching(says) }),
    );
  });

  test.each([-1, 1.5, "1", null, 2 ** 60])("refuses the sequence %j", (spiffe_sequence) => {
    expect(() => parseTrustBundle("m", JSON.stringify({ keys: [], spiffe_sequence }))).toThrow(/is no SPIFFE bundle/);
  });
});
