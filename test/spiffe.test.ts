import { execFileSync } from "node:child_process";
import { createPublicKey, X509Certificate } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { makeCsr, testCa } from "../src/credential/ca.fake.ts";
import { guideSteps } from "./guide.ts";
import {
  ders,
  gatewaySecret,
  openssl,
  opensslCsr,
  opensslVerify,
  program,
  type SpiffeLab,
  spiffeLab,
  testFolder,
  trustDomain,
} from "./spiffe-lab.ts";

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const x509 = async (lab: SpiffeLab, csr: Uint8Array, more: object = {}) =>
  lab.post("/v1/svid/x509", { csr: base64(csr), ...more });
const keys = {
  "P-256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
  "P-384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"],
  "RSA-2048": ["-newkey", "rsa:2048"],
};

describe("an X.509-SVID for a request made by openssl", () => {
  test.each(Object.entries(keys))("with a %s key is what openssl verify -x509_strict accepts", async (_kind, key) => {
    const lab = await spiffeLab();
    const csr = opensslCsr(testFolder(), key, ["subjectAltName = URI:spiffe://acme.example/role/release"]);
    const { status, body } = await x509(lab, csr);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      spiffe_id: "spiffe://acme.example/role/release",
      hint: "release",
      federated_bundles: {},
    });
    const chain = ders(body.certificates);
    expect(opensslVerify(chain, ders(body.bundle), lab.clock.now())).toMatch(/OK\n.*OK\n/s);
    expect(() => opensslVerify(chain.slice(0, 1), ders(body.bundle), lab.clock.now())).toThrow();
    expect(() => opensslVerify(chain, ders(body.bundle), Date.parse(body.expires_at) + 1000)).toThrow();
  });

  test("has the SPIFFE profile, and its serial leads to the job", async () => {
    const lab = await spiffeLab();
    const { body } = await x509(lab, opensslCsr(testFolder(), keys["P-256"]));
    const leaf = new X509Certificate(ders(body.certificates)[0] ?? Buffer.alloc(0));
    const file = join(testFolder(), "leaf.pem");
    writeFileSync(file, leaf.toString());
    const text = openssl(["x509", "-in", file, "-noout", "-text"]);
    expect(leaf.subject).toBeUndefined();
    expect(text).toMatch(/Alternative Name: critical\n\s+URI:spiffe:\/\/acme\.example\/role\/release\n/);
    expect(text).toMatch(/Basic Constraints: critical\n\s+CA:FALSE/);
    expect(text).toMatch(/X509v3 Key Usage: critical\n\s+Digital Signature\n/);
    expect(text).toMatch(/Extended Key Usage: ?\n\s+TLS Web Server Authentication, TLS Web Client Authentication\n/);
    expect(text).toMatch(/Subject Key Identifier/);
    expect(text).toMatch(/Authority Key Identifier/);
    expect(text.match(/X509v3 /g)).toHaveLength(7); // "X509v3 extensions" and six of them
    const serial = openssl(["x509", "-in", file, "-noout", "-serial"]).trim().replace("serial=", "").toLowerCase();
    expect(lab.recorder.records.at(-1)).toMatchObject({
      kind: "svid.minted",
      job: { job_id: "7712" },
      data: { serial },
    });
    expect(lab.clock.now() - leaf.validFromDate.getTime()).toBeLessThanOrEqual(60_000);
    expect(leaf.validFromDate.getTime()).toBeLessThan(lab.clock.now());
    expect(leaf.validToDate.getTime()).toBe(lab.clock.now() + 900_000);
  });

  test("signed by the operator's own intermediate chains to the operator's root", async () => {
    const top = await testCa({ name: "Acme root", kind: "RSA-2048", pathLength: 2 });
    const middle = await testCa({ name: "Acme PKI", kind: "P-384", pathLength: 1 }, top);
    const low = await testCa({ name: "Acme SVIDs", pathLength: 0, uri: "spiffe://acme.example" }, middle);
    const ca = { cert: low.pem + middle.pem + top.pem, key: low.keyPem };
    const lab = await spiffeLab({ spiffe: { ca } });
    const { body } = await x509(lab, opensslCsr(testFolder(), keys["P-256"]));
    expect(body.certificates).toHaveLength(3);
    expect(ders(body.bundle)).toEqual([Buffer.from(top.certificate.rawData)]);
    expect(opensslVerify(ders(body.certificates), ders(body.bundle), lab.clock.now())).toMatch(/OK/);
    expect(lab.recorder.kinds()).not.toContain("ca.created");
  });
});

test("the guide's commands make an intermediate that signs", async () => {
  const guide = readFileSync(new URL("../docs/guides/spiffe.md", import.meta.url), "utf8");
  const commands = guideSteps(guide).find((step) => step.kind === "block" && step.body.includes("svid-ca.csr"));
  const dir = testFolder();
  const root = ["-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Acme root", "-addext", "keyUsage=keyCertSign"];
  execFileSync(program, ["req", "-x509", "-newkey", "rsa:2048", "-nodes", ...root], { cwd: dir, stdio: "pipe" });
  execFileSync("sh", ["-ec", commands?.kind === "block" ? commands.body : "exit 1"], { cwd: dir, stdio: "pipe" });
  const read = (name: string) => readFileSync(join(dir, name), "utf8");
  const ca = { cert: read("svid-ca.pem"), key: read("svid-ca.key") };
  const lab = await spiffeLab({ spiffe: { ca }, clock: { now: () => Date.now() } });
  const { status, body } = await x509(lab, await makeCsr());
  expect(status).toBe(200);
  expect(opensslVerify(ders(body.certificates), ders(body.bundle), Date.now())).toMatch(/OK/);
});

describe("a request that is refused, with a record that says so", () => {
  test.each<[string, readonly string[], readonly string[], RegExp]>([
    [
      "a foreign trust domain",
      keys["P-256"],
      ["subjectAltName = URI:spiffe://evil.example/role/release"],
      /evil\.example/,
    ],
    ["a DNS name", keys["P-256"], ["subjectAltName = DNS:billing.internal"], /billing\.internal/],
    ["the CA bit", keys["P-256"], ["basicConstraints = CA:TRUE"], /asks to be a CA/],
    ["keyCertSign", keys["P-256"], ["keyUsage = keyCertSign"], /keyCertSign/],
    ["a secp256k1 key", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], [], /curve other than/],
    [
      "a curve spelled out",
      ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
      [],
      /curve other than/,
    ],
    ["an RSA key of 1024 bits", ["-newkey", "rsa:1024"], [], /only 1024 bits/],
    ["an Ed25519 key", ["-newkey", "ed25519"], [], /signed in a way/],
  ])("for %s", async (_of, key, add, says) => {
    const lab = await spiffeLab();
    const { status, body } = await x509(lab, opensslCsr(testFolder(), key, add));
    expect([status, body.code]).toEqual([400, "csr_invalid"]);
    expect(body.detail).toMatch(says);
    expect(lab.recorder.records.at(-1)).toMatchObject({
      kind: "svid.refused",
      session: lab.id,
      data: { code: "csr_invalid", detail: body.detail },
    });
  });

  test.each<[string, object, string]>([
    ["no JSON object", [], "invalid_request"],
    ["no csr", {}, "invalid_request"],
    ["something unknown", { csr: "AA==", ttl: 3600 }, "invalid_request"],
    ["PEM", { csr: "-----BEGIN CERTIFICATE REQUEST-----" }, "csr_invalid"],
    ["base64url", { csr: "__8=" }, "csr_invalid"],
    ["bytes that are none", { csr: "AAAA" }, "csr_invalid"],
    ["another role", { csr: "AAAA", role: "admin" }, "spiffe_id_refused"],
  ])("for %s", async (_of, payload, code) => {
    const lab = await spiffeLab();
    expect((await lab.post("/v1/svid/x509", payload)).body.code).toBe(code);
  });

  test("without the session's credential", async () => {
    const lab = await spiffeLab();
    for (const url of ["/v1/svid/identities", "/v1/svid/jwt-bundles"])
      expect((await lab.get(url, {})).body.code).toBe("credential_invalid");
    for (const url of ["/v1/svid/x509", "/v1/svid/jwt"])
      expect((await lab.post(url, {}, {})).body.code).toBe("credential_invalid");
  });

  test("once the session is over", async () => {
    const lab = await spiffeLab();
    await lab.lifecycle.end(lab.session(lab.id), "job_finished");
    const csr = await makeCsr();
    expect((await x509(lab, csr)).body.code).toBe("session_ended");
    expect((await lab.post("/v1/svid/jwt", { audience: ["a"] })).body.code).toBe("session_ended");
    expect((await lab.get("/v1/svid/identities")).body.code).toBe("session_ended");
  });

  test("with the CA expired", async () => {
    const top = await testCa({ name: "Acme root" });
    const low = await testCa({ name: "Acme SVIDs", until: Date.parse("2026-11-24T09:40:00Z") }, top);
    const lab = await spiffeLab({ spiffe: { ca: { cert: low.pem + top.pem, key: low.keyPem } } });
    const csr = await makeCsr();
    expect((await x509(lab, csr)).body.expires_at).toBe("2026-11-24T09:40:00.000Z");
    lab.clock.advance(600_000);
    expect(await x509(lab, csr)).toMatchObject({ status: 503, body: { code: "key_unavailable" } });
  });
});

describe("JWT-SVIDs", () => {
  test("verify by the published bundle, and pass for nothing else", async () => {
    const lab = await spiffeLab();
    const { body } = await lab.post("/v1/svid/jwt", { audience: ["billing.internal"] });
    const bundle = (await lab.get("/spiffe/bundle", {})).body;
    const jwks = createLocalJWKSet({
      keys: bundle.keys
        .filter(({ use }: { use: string }) => use === "jwt-svid")
        .map(({ use: _use, ...jwk }: { use: string }) => jwk),
    });
    const at = { currentDate: new Date(lab.clock.now()) };
    const { payload } = await jwtVerify(body.svid, jwks, { audience: "billing.internal", ...at });
    expect(payload).toEqual({
      sub: "spiffe://acme.example/role/release",
      aud: ["billing.internal"],
      sid: lab.id,
      jti: expect.any(String),
      iat: lab.clock.now() / 1000,
      exp: lab.clock.now() / 1000 + 300,
    });
    expect(decodeProtectedHeader(body.svid)).toEqual({ alg: "ES256", typ: "JWT", kid: lab.chain.ring.kid });
    expect(decodeJwt(body.svid).iss).toBeUndefined();
  });

  test.each([
    "https://wayleave.acme.example",
    "https://wayleave.acme.example/",
    "https://WAYLEAVE.acme.example:443/oauth2/token",
    "acme.example",
    "spiffe://acme.example",
    "billing",
  ])("are never for %s", async (audience) => {
    const lab = await spiffeLab();
    expect((await lab.post("/v1/svid/jwt", { audience: ["fine.example", audience] })).body.code).toBe(
      "audience_refused",
    );
  });

  test.each([{ audience: "billing" }, { audience: [1] }, {}, { audience: ["a"], extra: true }])(
    "want %j otherwise",
    async (payload) => {
      const lab = await spiffeLab();
      expect((await lab.post("/v1/svid/jwt", payload)).body.code).toBe("invalid_request");
    },
  );
});

describe("a gateway", () => {
  const proof = { "x-wayleave-gateway": "edge-1", "x-wayleave-gateway-secret": gatewaySecret };
  const ask = async (lab: SpiffeLab, headers: Record<string, string>, csr: Uint8Array) =>
    lab.post("/v1/gateway/svid", { csr: base64(csr) }, headers);

  test("that proves itself gets an SVID with its DNS name, for an hour", async () => {
    const lab = await spiffeLab();
    const { status, body } = await ask(
      lab,
      proof,
      opensslCsr(testFolder(), keys["P-256"], ["subjectAltName = DNS:edge-1"]),
    );
    expect([status, body.spiffe_id]).toEqual([200, "spiffe://acme.example/gateway/edge-1"]);
    const leaf = new X509Certificate(ders(body.certificates)[0] ?? Buffer.alloc(0));
    expect(leaf.subjectAltName).toBe("URI:spiffe://acme.example/gateway/edge-1, DNS:edge-1");
    expect(Date.parse(body.expires_at)).toBe(lab.clock.now() + 3_600_000);
    expect(opensslVerify(ders(body.certificates), ders(body.bundle), lab.clock.now())).toMatch(/OK/);
    expect(lab.recorder.records.at(-1)).toMatchObject({
      kind: "svid.minted",
      data: { gateway: "edge-1", type: "x509" },
    });
  });

  test.each<[string, Record<string, string>]>([
    ["no name", { "x-wayleave-gateway-secret": gatewaySecret }],
    ["no secret", { "x-wayleave-gateway": "edge-1" }],
    ["an empty secret", { ...proof, "x-wayleave-gateway-secret": "" }],
    ["another secret", { ...proof, "x-wayleave-gateway-secret": `${gatewaySecret}x` }],
    ["another name", { ...proof, "x-wayleave-gateway": "edge-2" }],
  ])("with %s gets nothing", async (_of, headers) => {
    const lab = await spiffeLab();
    expect(await ask(lab, headers, await makeCsr())).toMatchObject({
      status: 403,
      body: { code: "gateway_unauthenticated" },
    });
    expect(lab.recorder.kinds()).not.toContain("svid.minted");
  });

  test("cannot take another one's name", async () => {
    const lab = await spiffeLab();
    const { body } = await ask(lab, proof, opensslCsr(testFolder(), keys["P-256"], ["subjectAltName = DNS:edge-2"]));
    expect(body.code).toBe("csr_invalid");
    expect(lab.recorder.records.at(-1)).toMatchObject({ kind: "svid.refused", data: { gateway: "edge-1" } });
  });

  test("may be given its key with the certificate", async () => {
    const lab = await spiffeLab();
    const secret = await lab.spiffe.mintGatewaySvid("edge-1");
    const [leaf] = secret.certificateChainPem.split(/(?<=-----END CERTIFICATE-----\n)/);
    const made = createPublicKey(secret.privateKeyPem).export({ format: "der", type: "spki" });
    expect(new X509Certificate(leaf ?? "").publicKey.export({ format: "der", type: "spki" })).toEqual(made);
    expect(secret.expiresAt).toBe(lab.clock.now() + 3_600_000);
  });
});

describe("the bundle", () => {
  test("has one certificate in each x5c and a kid for each JWT key, and its sequence grows over restarts", async () => {
    const lab = await spiffeLab();
    const bundle = async () => (await lab.get("/spiffe/bundle", {})).body;
    const first = await bundle();
    expect(first.spiffe_refresh_hint).toBeGreaterThan(0);
    expect(first.keys).toMatchObject([
      { use: "x509-svid", kty: "EC", x5c: [expect.any(String)] },
      { use: "jwt-svid", kty: "EC", kid: lab.chain.ring.kid },
    ]);
    expect(first.keys[0].kid).toBeUndefined();
    let told = 0;
    lab.spiffe.onBundleChange(() => told++);
    await lab.chain.prepare();
    const second = await bundle();
    expect([second.keys.length, told]).toEqual([3, 1]);
    expect(second.spiffe_sequence).toBeGreaterThan(first.spiffe_sequence);
    const again = await lab.reconnect();
    expect(again.routes.documents().get(trustDomain)).toEqual(second);
    await again.close();
    const kid = lab.chain.ring.kid;
    await lab.chain.revoke(kid, "a test");
    const third = await bundle();
    expect(third.keys.map((key: { kid?: string }) => key.kid)).not.toContain(kid);
    expect(third.spiffe_sequence).toBeGreaterThan(second.spiffe_sequence);
  });

  test("is one of a map of bundles", async () => {
    const lab = await spiffeLab();
    const own = (await lab.get("/spiffe/bundle", {})).body;
    expect((await lab.get("/spiffe/bundles", {})).body).toEqual({ trust_domains: { [trustDomain]: own } });
    const forJobs = (await lab.get("/v1/svid/jwt-bundles")).body.trust_domains[trustDomain];
    expect(forJobs.keys.map(({ use }: { use: string }) => use)).toEqual(["jwt-svid"]);
  });
});

test("after a restart the same CA signs, and its keys are nowhere in the clear", async () => {
  const lab = await spiffeLab();
  const first = lab.spiffe.roots();
  const again = await lab.reconnect();
  expect(again.roots()).toEqual(first);
  await again.close();
  for (const name of readdirSync(join(lab.dataDir, "keys"))) {
    const text = readFileSync(join(lab.dataDir, "keys", name), "utf8");
    expect(text).toMatch(/^[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/); // a compact JWE and nothing beside it
  }
});

test("many at once are each their own, with a serial of their own", async () => {
  const lab = await spiffeLab();
  const csr = await makeCsr();
  const answers = await Promise.all(Array.from({ length: 8 }, () => x509(lab, csr)));
  const serials = answers.map(
    ({ body }) => new X509Certificate(ders(body.certificates)[0] ?? Buffer.alloc(0)).serialNumber,
  );
  expect(new Set(serials).size).toBe(8);
  expect(serials.every((serial) => /^[4-7][0-9A-F]{31}$/.test(serial))).toBe(true);
});
