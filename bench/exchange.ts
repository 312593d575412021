import { EmbeddedJWK, exportJWK, generateKeyPair, importJWK, jwtVerify, SignJWT } from "jose";
import { request } from "undici";
import { createJobClient } from "../demo/job-client.ts";
import { createProofKey } from "../src/cli/job/proof-key.ts";
import { type Installation, makeInstallation } from "./installation.ts";
import { machine, median, percentile, table, thousands } from "./machine.ts";
import { startProcess } from "./server-process.ts";

/** Exchanges without and with DPoP, next to the bare cryptography they contain; start-up and idle memory. */
const total = 2_000;
const inFlight = 16;

async function main(): Promise<void> {
  console.log(`exchange of RS256 subject tokens (uploaded JWKS), ${total} each, ${inFlight} in flight\n${machine()}\n`);
  const starts: number[] = [];
  for (let round = 0; round < 3; round++) {
    const server = await startProcess((await makeInstallation()).configPath);
    starts.push(server.readyMs);
    await server.stop();
  }
  const installation = await makeInstallation();
  const server = await startProcess(installation.configPath);
  const { memory: idle } = await server.usage();
  const client = createJobClient(installation.url, "");
  const tokens = await Promise.all(Array.from({ length: total + 1 }, () => installation.subjectToken()));
  const coldStart = performance.now();
  await expectOk(client.exchange(tokens[total] ?? ""));
  const cold = performance.now() - coldStart;
  const warm = await timed((at) => expectOk(client.exchange(tokens[at] ?? "")));
  const proven = await exchangeWithProofs(installation);
  const [bare, bareProven] = [await bareCryptography(false), await bareCryptography(true)];
  console.log(
    table([
      ["", "per second", "p50 ms", "p99 ms"],
      ["exchange, durable, over HTTP", thousands(warm.perSecond), warm.p50.toFixed(2), warm.p99.toFixed(2)],
      ["with DPoP, a key for each job", thousands(proven.perSecond), proven.p50.toFixed(2), proven.p99.toFixed(2)],
      ["bare RS256 verify + ES256 sign", thousands(bare.perSecond), bare.p50.toFixed(2), bare.p99.toFixed(2)],
      [
        "and ES256 verify by a new key",
        thousands(bareProven.perSecond),
        bareProven.p50.toFixed(2),
        bareProven.p99.toFixed(2),
      ],
    ]),
  );
  console.log(`\nfirst exchange (keys not yet imported)  ${cold.toFixed(1)} ms`);
  console.log(`time to ready                           ${median(starts).toFixed(0)} ms`);
  console.log(`idle memory                             ${(idle / 1024 / 1024).toFixed(0)} MB`);
  console.log(
    `memory after ${thousands(total)} sessions             ${((await server.usage()).memory / 1024 / 1024).toFixed(0)} MB`,
  );
  await client.close();
  await server.stop();
}

/** Keys, proofs and subject tokens are made beforehand: the job's own work is not the broker's. */
async function exchangeWithProofs({ url, subjectToken }: Installation) {
  const endpoint = `${url}/oauth2/token`;
  const ask = async (form: Readonly<Record<string, string>>, dpop: string) => {
    const { statusCode, headers, body } = await request(endpoint, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", dpop },
      body: new URLSearchParams(form).toString(),
    });
    return { status: statusCode, nonce: headers["dpop-nonce"], body: await body.json() };
  };
  const nonce = String((await ask({ grant_type: "none" }, "none")).nonce);
  const proof = () => createProofKey().proof({ method: "POST", url: endpoint, nowMs: Date.now(), nonce });
  const subjects = await Promise.all(Array.from({ length: total }, () => subjectToken()));
  const proofs = subjects.map(proof);
  const exchange = {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
  };
  return timed((at) => expectOk(ask({ ...exchange, subject_token: subjects[at] ?? "" }, proofs[at] ?? "")));
}

async function timed(work: (at: number) => Promise<void>): Promise<{ perSecond: number; p50: number; p99: number }> {
  const took: number[] = [];
  let next = 0;
  const start = performance.now();
  const lane = async () => {
    for (let at = next++; at < total; at = next++) {
      const began = performance.now();
      await work(at);
      took.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const seconds = (performance.now() - start) / 1000;
  took.sort((a, b) => a - b);
  return { perSecond: total / seconds, p50: percentile(took, 0.5), p99: percentile(took, 0.99) };
}

async function bareCryptography(withProof: boolean) {
  const rsa = await generateKeyPair("RS256", { extractable: true });
  const verifyKey = await importJWK(await exportJWK(rsa.publicKey), "RS256");
  const signing = await generateKeyPair("ES256");
  const token = await new SignJWT({ a: "x".repeat(800) })
    .setProtectedHeader({ alg: "RS256" })
    .setExpirationTime("1h")
    .sign(rsa.privateKey);
  const endpoint = "https://wayleave.example/oauth2/token";
  const proof = () => createProofKey().proof({ method: "POST", url: endpoint, nowMs: Date.now() });
  const proofs = Array.from({ length: withProof ? total : 0 }, proof);
  return timed(async (at) => {
    const made = proofs[at];
    if (made !== undefined) await jwtVerify(made, EmbeddedJWK, { algorithms: ["ES256"] });
    await jwtVerify(token, verifyKey, { algorithms: ["RS256"] });
    await new SignJWT({ a: "x".repeat(400) })
      .setProtectedHeader({ alg: "ES256" })
      .setExpirationTime("5m")
      .sign(signing.privateKey);
  });
}

async function expectOk(answer: Promise<{ status: number; body: unknown }>): Promise<void> {
  const { status, body } = await answer;
  if (status !== 200) throw new Error(`the exchange answered ${status}: ${JSON.stringify(body)}`);
}

await main();
