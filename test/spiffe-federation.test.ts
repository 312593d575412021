import { generateKeyPairSync } from "node:crypto";
import { createServer as createPlainServer } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import type { FederationConfig } from "../src/config/config.ts";
import { countingBytes, makeCsr } from "../src/credential/ca.fake.ts";
import { toPem } from "../src/credential/ca-authority.ts";
import { makeIntermediate, makeLeaf, makeRoot, readCa } from "../src/credential/ca-certificates.ts";
import { newSerial } from "../src/credential/ca-own.ts";
import { foreignDomain } from "../src/credential/trust-bundle.fake.ts";
import { rootEntry } from "../src/credential/trust-bundle.ts";
import { ders, spiffeLab, trustDomain } from "./spiffe-lab.ts";

const mesh = "mesh.example";
const endpointId = `spiffe://${mesh}/bundle-endpoint`;
const clock = { now: () => Date.now() };

/** A CA of `mesh.example` that is valid now, and servers that prove themselves by its SVIDs. */
async function meshCa() {
  const now = Math.floor(Date.now() / 1000) * 1000;
  const validity = () => ({ serial: newSerial(countingBytes), notBefore: now - 60_000, notAfter: now + 3_600_000 });
  const material = (made: { certificate: Uint8Array; privateKey: Uint8Array }) => ({
    ...made,
    keyId: readCa(made.certificate).keyId ?? "",
  });
  const root = material(await makeRoot(mesh, validity()));
  const intermediate = material(await makeIntermediate(mesh, root, validity()));
  const bundle = (sequence: number, keys: readonly object[] = [rootEntry(root.certificate)]) =>
    JSON.stringify({ keys, spiffe_sequence: sequence });
  return {
    root,
    bundle,
    /** Serves `text` over TLS as the workload `spiffeId`. */
    async serve(spiffeId: string, text: () => string): Promise<string> {
      const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const leaf = await makeLeaf(
        intermediate,
        publicKey.export({ format: "der", type: "spki" }),
        { spiffeId },
        validity(),
      );
      const cert = toPem([leaf, intermediate.certificate]);
      const key = privateKey.export({ format: "pem", type: "pkcs8" });
      const server = createServer({ cert, key }, (_request, response) => response.end(text()));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      onTestFinished(() => void server.close().closeAllConnections());
      return `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    },
  };
}

const federated = (parts: Partial<FederationConfig>): { spiffe: { federatesWith: FederationConfig[] } } => ({
  spiffe: { federatesWith: [{ trustDomain: mesh, profile: "https_web", runners: [], ...parts }] },
});

describe("an endpoint that proves itself by its SVID", () => {
  test("is read, and given on", async () => {
    const ca = await meshCa();
    const served = ca.bundle(2);
    const bundleUrl = await ca.serve(endpointId, () => served);
    const lab = await spiffeLab({
      clock,
      ...federated({ profile: "https_spiffe", endpointSpiffeId: endpointId, bundle: ca.bundle(1), bundleUrl }),
    });
    let told = 0;
    lab.spiffe.onBundleChange(() => told++);
    await lab.spiffe.sweep();
    expect([told, lab.spiffe.warnings()]).toEqual([1, []]);
    expect(
      lab.spiffe
        .roots()
        .get(mesh)
        ?.map((der) => Buffer.compare(der, ca.root.certificate)),
    ).toEqual([0]);
    const { trust_domains } = (await lab.get("/spiffe/bundles", {})).body;
    expect(trust_domains[mesh]).toEqual(JSON.parse(served));
    expect(Object.keys(trust_domains)).toEqual([trustDomain, mesh]);
    expect(lab.recorder.records.at(-1)).toMatchObject({
      kind: "bundle.read",
      data: { trust_domain: mesh, sequence: 2 },
    });
  });

  test.each<[string, (ca: Awaited<ReturnType<typeof meshCa>>) => Promise<{ bundleUrl: string; bundle: string }>]>([
    [
      "another workload of the domain",
      async (ca) => ({
        bundleUrl: await ca.serve(`spiffe://${mesh}/billing`, () => ca.bundle(9)),
        bundle: ca.bundle(1),
      }),
    ],
    [
      "a workload of a CA we do not know",
      async (ca) => ({ bundleUrl: await (await meshCa()).serve(endpointId, () => ca.bundle(9)), bundle: ca.bundle(1) }),
    ],
    [
      "anybody, where every root was revoked",
      async (ca) => ({ bundleUrl: await ca.serve(endpointId, () => ca.bundle(9)), bundle: ca.bundle(1, []) }),
    ],
    [
      "somebody who sends us elsewhere",
      async (ca) => {
        const server = createPlainServer((_request, response) => response.writeHead(302, { location: "/" }).end());
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        onTestFinished(() => void server.close().closeAllConnections());
        return { bundleUrl: `https://127.0.0.1:${(server.address() as AddressInfo).port}/`, bundle: ca.bundle(1) };
      },
    ],
  ])("is not %s", async (_of, arrange) => {
    const ca = await meshCa();
    const parts = await arrange(ca);
    const lab = await spiffeLab({
      clock,
      ...federated({ profile: "https_spiffe", endpointSpiffeId: endpointId, ...parts }),
    });
    await lab.spiffe.sweep();
    expect(lab.spiffe.warnings()[0]).toMatch(/bundle endpoint of mesh\.example/);
    expect(lab.recorder.records.at(-1)).toMatchObject({
      kind: "bundle.read",
      data: { sequence: 1, problem: expect.any(String) },
    });
    expect(lab.spiffe.routes.documents().get(mesh)?.spiffe_sequence).toBe(1);
  });

  test("by the public CAs alone is not enough", async () => {
    const ca = await meshCa();
    const bundleUrl = await ca.serve(endpointId, () => ca.bundle(9));
    const lab = await spiffeLab({ clock, ...federated({ bundleUrl }) });
    await lab.spiffe.sweep();
    expect(lab.spiffe.warnings()[0]).toMatch(/does not answer/);
  });
});

test.each<[string, Partial<FederationConfig>]>([
  ["no SPIFFE ID", {}],
  ["a SPIFFE ID of another domain", { endpointSpiffeId: "spiffe://evil.example/bundle-endpoint" }],
  ["no bundle to begin with", { endpointSpiffeId: endpointId }],
  ["no https", { endpointSpiffeId: endpointId, bundle: '{"keys":[]}', bundleUrl: "http://127.0.0.1/" }],
])("an https_spiffe endpoint with %s stops the start", async (_of, parts) => {
  await expect(spiffeLab(federated({ profile: "https_spiffe", ...parts }))).rejects.toMatchObject({
    code: "config_invalid",
  });
});

describe("a runner", () => {
  const runners = [`spiffe://${mesh}/runner`];
  const claims = (now: number) => ({ aud: "https://wayleave.acme.example", exp: now / 1000 + 300, iat: now / 1000 });

  test("of a federated domain proves itself, and nobody else of it does", async () => {
    const domain = await foreignDomain(mesh);
    const lab = await spiffeLab(federated({ bundle: domain.bundle(1), runners }));
    const now = lab.clock.now();
    const runner = await domain.token({ sub: `spiffe://${mesh}/runner/7`, ...claims(now) });
    expect(await lab.spiffe.verifyRunnerSvid(runner)).toMatchObject({ spiffeId: `spiffe://${mesh}/runner/7` });
    const billing = await domain.token({ sub: `spiffe://${mesh}/billing`, ...claims(now) });
    await expect(lab.spiffe.verifyRunnerSvid(billing)).rejects.toMatchObject({ code: "spiffe_id_refused" });
  });

  test("of our own trust domain is never a job with its own JWT-SVID", async () => {
    const domain = await foreignDomain(trustDomain);
    const own = { trustDomain, bundle: domain.bundle(1), runners: [`spiffe://${trustDomain}`] };
    const lab = await spiffeLab(federated(own));
    const { body } = await lab.post("/v1/svid/jwt", { audience: ["fine.example"] });
    await expect(lab.spiffe.verifyRunnerSvid(body.svid)).rejects.toMatchObject({ code: "credential_invalid" });
    const real = await domain.token({ sub: `spiffe://${trustDomain}/runner/7`, ...claims(lab.clock.now()) });
    expect(await lab.spiffe.verifyRunnerSvid(real)).toMatchObject({ spiffeId: `spiffe://${trustDomain}/runner/7` });
    // Its keys verify runners, and are not part of our own bundle.
    expect(JSON.stringify([...lab.spiffe.routes.documents().values()])).not.toContain(domain.jwk.kid);
    expect([...lab.spiffe.roots().keys()]).toEqual([trustDomain]);
  });
});

test("X.509-SVIDs come with the roots of federated domains", async () => {
  const domain = await foreignDomain(mesh);
  const lab = await spiffeLab(federated({ bundle: domain.bundle(1) }));
  const { body } = await lab.post("/v1/svid/x509", { csr: Buffer.from(await makeCsr()).toString("base64") });
  expect(ders(body.federated_bundles[mesh])).toEqual([Buffer.from(domain.ca.certificate.rawData)]);
});
