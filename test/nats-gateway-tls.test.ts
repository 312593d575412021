import "reflect-metadata";
import { connect as connectTcp, createServer } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import * as x509 from "@peculiar/x509";
import { expect, onTestFinished, test } from "vitest";
import { gatewayLab, rawClient, type ServerTls } from "./nats-gateway-lab.ts";

const jobs = { a: { password: "a", allow: ["pub build.>", "sub build.>"] } };
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A certificate of its own for 127.0.0.1, or for another place. */
async function certificate(address = "127.0.0.1"): Promise<ServerTls> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=a nats-server",
    keys,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.SubjectAlternativeNameExtension([
        { type: "ip", value: address },
        { type: "dns", value: "localhost" }, // what nats.js compares with, whatever the address
      ]),
      new x509.BasicConstraintsExtension(true, 0, true),
    ],
  });
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return { cert: cert.toString("pem"), key: `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n` };
}

test("TLS on both sides: nats.js connects, and the server takes the gateway", async () => {
  const [ours, theirs] = [await certificate(), await certificate()];
  const lab = await gatewayLab(jobs, { tls: ours, serverTls: theirs });
  const client = await lab.client("a", { tls: { ca: ours.cert } });
  const got: number[] = [];
  client.subscribe("build.>", { callback: (_, message) => void got.push(message.data.length) });
  client.publish("build.x", new Uint8Array(900_000));
  for (let at = 0; at < 100; at++) client.publish("build.y", "12");
  await client.flush();
  expect(got).toEqual([900_000, ...new Array<number>(100).fill(2)]);
  lab.authority.end("a");
  expect(String(await client.closed())).toContain("session ended: job finished");
});

test("a client that does not begin TLS is dropped, and hears nothing but our INFO", async () => {
  const lab = await gatewayLab(jobs, { tls: await certificate() });
  const raw = await rawClient(lab.port);
  expect(raw.info.tls_required).toBe(true);
  raw.say(`CONNECT {"auth_token":"a"}\r\nPING\r\n`);
  await lab.until(() => raw.closed());
  expect(raw.heard()).not.toContain("PONG");
  expect(lab.authority.admitted).toEqual([]);
});

test("a client that begins TLS and stops is dropped in time", async () => {
  const lab = await gatewayLab(jobs, { tls: await certificate(), limits: { connectMs: 100 } });
  const socket = connectTcp(lab.port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  let closed = false;
  socket
    .on("error", () => undefined)
    .on("close", () => {
      closed = true;
    });
  socket.resume().write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
  await lab.until(() => closed);
  expect(lab.authority.of("nats.refused")).toMatchObject([{ code: "connect_late" }]);
});

test.each([
  ["another's certificate", async () => ({ shown: await certificate(), trusted: (await certificate()).cert })],
  [
    "a certificate for another place",
    async () => {
      const shown = await certificate("127.0.0.9");
      return { shown, trusted: shown.cert };
    },
  ],
] as const)("a server with %s gets no ticket", async (_, make) => {
  const { shown, trusted } = await make();
  const servers = [{ host: "127.0.0.1", port: await tlsServer(shown), tls: { ca: trusted } }];
  const lab = await gatewayLab(jobs, { servers, limits: { upstreamPatienceMs: 0 } });
  await expect(lab.client("a")).rejects.toThrow(/Gateway Unavailable: the server at 127.0.0.1:\d+ cannot be used/);
  expect(lab.authority.attached).toEqual([]);
});

/** Greets as nats-server does, and begins TLS. */
async function tlsServer({ cert, key }: ServerTls): Promise<number> {
  const secureContext = createSecureContext({ cert, key });
  const info = { server_id: "N", version: "2.15.1", headers: true, tls_required: true, client_id: 1, max_payload: 1e6 };
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    new TLSSocket(socket, { isServer: true, secureContext }).on("error", () => undefined).resume();
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  onTestFinished(() => void server.close());
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
