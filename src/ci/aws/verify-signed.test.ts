import { AwsV4Signer } from "aws4fetch";
import { describe, expect, test } from "vitest";
import {
  type AwsProof,
  awsAudienceHeader,
  awsNonceHeader,
  awsProofBody,
  awsProofPrefix,
} from "../../core/aws-proof.ts";
import { callerXml, fakeKeys, fakeSts } from "./sts.fake.ts";
import { createSignedVerifier } from "./verify-signed.ts";

const endpoint = "https://sts.eu-central-1.amazonaws.com";
const audience = "https://wayleave.example";
const config = { accounts: ["111122223333"], sts: [endpoint], forks: "none" as const };
const nonce = "0123456789abcdef";
const now = Date.parse("2026-11-24T09:30:00Z");
const role = { id: "ASIA000000000SHOPCI", ...fakeKeys.ASIA000000000SHOPCI };
const text = (proof: unknown) => awsProofPrefix + Buffer.from(JSON.stringify(proof)).toString("base64url");

interface Changes {
  readonly audience?: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly at?: number;
  readonly body?: string;
  readonly method?: string;
  readonly key?: { readonly id: string; readonly secret?: string | undefined; readonly token?: string | undefined };
  readonly headers?: Readonly<Record<string, string>>;
}

/** Signed by a library of its own, not by ours. */
async function proof(changes: Changes = {}): Promise<AwsProof> {
  const { id, secret = "", token } = changes.key ?? role;
  const signer = new AwsV4Signer({
    url: `${changes.endpoint ?? endpoint}/`,
    method: changes.method ?? "POST",
    headers: changes.headers ?? { [awsAudienceHeader]: changes.audience ?? audience, [awsNonceHeader]: nonce },
    body: changes.body ?? awsProofBody,
    accessKeyId: id,
    secretAccessKey: secret,
    ...(token === undefined ? {} : { sessionToken: token }),
    service: "sts",
    region: changes.region ?? "eu-central-1",
    datetime: new Date(changes.at ?? now).toISOString().replaceAll(/[-:]|\.\d{3}/g, ""),
  });
  const { headers } = await signer.sign();
  const said = (name: string) => headers.get(name) ?? "";
  return {
    endpoint: changes.endpoint ?? endpoint,
    authorization: said("authorization"),
    date: said("x-amz-date"),
    nonce,
    ...(token === undefined ? {} : { token }),
  };
}

function verifier(answer?: () => Response | Promise<Response>, more: object = {}) {
  const sts = fakeSts(fakeKeys, () => now);
  const inits: (RequestInit | undefined)[] = [];
  const fetchIt: typeof fetch = async (input, init) => {
    inits.push(init);
    const request = new Request(input, init);
    return answer === undefined ? sts.answer(request) : answer();
  };
  const verify = createSignedVerifier({
    name: "aws",
    audience,
    config: { ...config, ...more },
    clock: { now: () => now, monotonic: () => 0 },
    fetch: fetchIt,
    timeoutMs: 1000,
  });
  return { verify, asked: sts.asked, inits };
}

describe("a signed GetCallerIdentity", () => {
  test("is a role's session, as STS says it", async () => {
    const { verify, asked, inits } = verifier();
    const verified = await verify(text(await proof()));
    expect(verified).toMatchObject({
      issuer: "aws",
      kid: role.id,
      issuedAt: now,
      expiresAt: now + 900_000,
      identity: {
        issuerType: "aws",
        project: { id: expect.stringMatching(/^111122223333-[0-9a-f]{20}$/), path: "111122223333/role/shop-ci" },
        job: { id: "AROAEXAMPLE000000001:AWSCodeBuild-77", ofRun: true },
        pipelineId: "AWSCodeBuild-77",
        fork: "no",
        attributes: {
          account: "111122223333",
          project: "111122223333/role/shop-ci",
          role: "shop-ci",
          session_name: "AWSCodeBuild-77",
          principal_id: "AROAEXAMPLE000000001",
        },
      },
    });
    expect([asked[0]?.method, asked[0]?.url, await asked[0]?.text()]).toEqual(["POST", `${endpoint}/`, awsProofBody]);
    expect(inits[0]?.redirect).toBe("manual");
  });

  test("has the signature as what is used once, however it is spelled", async () => {
    const { verify } = verifier();
    const signed = await proof();
    const one = await verify(text(signed));
    const other = await verify(text({ ...signed, authorization: signed.authorization.replace(", Signed", ",Signed") }));
    const later = await verify(text(await proof({ at: now + 1000 })));
    expect(other.replayKey).toBe(one.replayKey);
    expect(later.replayKey).not.toBe(one.replayKey);
  });

  test("without `forks: none` matches only selectors that say fork: true", async () => {
    expect((await verifier(undefined, { forks: undefined }).verify(text(await proof()))).identity.fork).toBe("unknown");
  });
});

describe("STS refuses, by its own reading,", () => {
  test.each<{ what: string; changes: Changes }>([
    { what: "another action", changes: { body: "Action=GetSessionToken&Version=2011-06-15" } },
    { what: "a second action", changes: { body: `${awsProofBody}&Action=GetSessionToken` } },
    { what: "another method", changes: { method: "PUT" } },
    { what: "another broker's audience", changes: { audience: "https://evil.example" } },
    { what: "another secret", changes: { key: { ...role, secret: "guessed" } } },
    { what: "another token", changes: { key: { ...role, token: "other" } } },
    { what: "a key nobody has", changes: { key: { id: "ASIA0000000NOBODY0", secret: "x", token: "y" } } },
    { what: "another path", changes: { endpoint: `${endpoint}/x` } },
  ])("what was signed for $what", async ({ changes }) => {
    const signed = { ...(await proof(changes)), endpoint };
    await expect(verifier().verify(text(signed))).rejects.toMatchObject({
      code: "subject_token_invalid",
      message: expect.stringMatching(/^STS refused(?!.*secret detail)/),
    });
  });
});

describe("STS is not even asked about", () => {
  const changed = async (more: object) => ({ ...(await proof()), ...more });
  test.each<{ what: string; make: () => Promise<unknown>; code?: string }>([
    {
      what: "an address that is not configured",
      make: () => changed({ endpoint: "https://sts.eu-west-1.amazonaws.com" }),
    },
    { what: "another host", make: () => changed({ endpoint: "https://evil.example" }) },
    { what: "a longer host", make: () => changed({ endpoint: `${endpoint}.evil.example` }) },
    { what: "a password in the address", make: () => changed({ endpoint: `https://a:b@${endpoint.slice(8)}` }) },
    { what: "a path behind the address", make: () => changed({ endpoint: `${endpoint}/x` }) },
    { what: "another region than the address's", make: () => proof({ region: "us-east-1" }) },
    { what: "an unsigned audience", make: () => proof({ headers: { [awsNonceHeader]: nonce } }) },
    {
      what: "a signed header that we do not send",
      make: () => proof({ headers: { [awsAudienceHeader]: audience, [awsNonceHeader]: nonce, "x-evil": "1" } }),
    },
    {
      what: "a token that is not signed",
      make: async () => ({ ...(await proof({ key: { ...role, token: undefined } })), token: role.token }),
    },
    { what: "an old signature", make: () => proof({ at: now - 301_000 }), code: "subject_token_expired" },
    { what: "one of the future", make: () => proof({ at: now + 301_000 }) },
    { what: "another day than its credential", make: () => changed({ date: "20261123T093000Z" }) },
    { what: "a date that is none", make: () => changed({ date: "20261324T093000Z" }) },
    {
      what: "another service",
      make: async () => changed({ authorization: (await proof()).authorization.replace("/sts/", "/iam/") }),
    },
    {
      what: "another algorithm",
      make: async () =>
        changed({ authorization: (await proof()).authorization.replace("HMAC-SHA256", "ECDSA-P256-SHA256") }),
    },
    {
      what: "a signature in capitals",
      make: async () =>
        changed({ authorization: (await proof()).authorization.replace(/[0-9a-f]{64}$/, (hex) => hex.toUpperCase()) }),
    },
    { what: "a header that splits", make: () => changed({ token: "a\r\nx-evil: 1" }) },
    { what: "a member of the caller's", make: () => changed({ body: "Action=GetSessionToken" }) },
    { what: "headers of the caller's", make: () => changed({ headers: {} }) },
    { what: "an unsigned nonce", make: () => proof({ headers: { [awsAudienceHeader]: audience } }) },
    { what: "no nonce", make: () => changed({ nonce: undefined }) },
    { what: "a nonce that splits a header", make: () => changed({ nonce: "0123456789abcde\n" }) },
    { what: "no authorization", make: () => changed({ authorization: "" }) },
    { what: "a list", make: async () => [] },
    { what: "null", make: async () => null },
  ])("$what", async ({ make, code = "subject_token_invalid" }) => {
    const { verify, inits } = verifier();
    await expect(verify(text(await make()))).rejects.toMatchObject({ code });
    expect(inits).toEqual([]);
  });

  test.each(["aws4.", "aws4.!!", `aws4.${"a".repeat(20_000)}`, "aws4.e30.e30"])("%.20s", async (raw) => {
    await expect(verifier().verify(raw)).rejects.toMatchObject({ code: "subject_token_invalid" });
  });
});

describe("an answer that is none of STS's", () => {
  const ok = (body: string, headers: object = { "content-type": "text/xml" }) =>
    new Response(body, { headers: { ...headers } });
  const good = callerXml({ arn: role.arn ?? "", userId: role.userId ?? "" });
  test.each<{ what: string; answer: () => Response | Promise<Response>; code?: string }>([
    {
      what: "a redirect",
      answer: () => new Response("", { status: 307, headers: { location: "https://evil.example" } }),
    },
    { what: "a fault", answer: () => new Response("", { status: 500 }) },
    { what: "no XML", answer: () => ok(good, { "content-type": "text/html" }) },
    { what: "JSON", answer: () => ok("{}", { "content-type": "application/json" }) },
    { what: "two accounts", answer: () => ok(good.replace("</Account>", "</Account><Account>999988887777</Account>")) },
    { what: "two ARNs", answer: () => ok(good.replace("<Arn>", "<Arn>arn:aws:iam::999988887777:user/x</Arn><Arn>")) },
    { what: "another element", answer: () => ok(good.replace("<Arn>", "<Evil>1</Evil><Arn>")) },
    { what: "an ARN in a comment", answer: () => ok(good.replace("<Arn>", "<!-- <Arn>x</Arn> --><Arn>")) },
    { what: "an entity", answer: () => ok(good.replace("shop-ci", "&amp;shop")) },
    { what: "a document type", answer: () => ok(`<!DOCTYPE x [<!ENTITY y "z">]>${good}`) },
    { what: "another namespace", answer: () => ok(good.replace("2011-06-15", "2099-01-01")) },
    { what: "something behind it", answer: () => ok(`${good}<x/>`) },
    { what: "too much", answer: () => ok(good + " ".repeat(20_000)) },
    { what: "nobody", answer: () => Promise.reject(new Error("secret in an error")) },
    {
      what: "an ARN of another account",
      answer: () => ok(callerXml({ arn: role.arn ?? "", userId: "AROA1:x" }, "999988887777")),
      code: "identity_refused",
    },
    {
      what: "the root user",
      answer: () => ok(callerXml({ arn: "arn:aws:iam::111122223333:root", userId: "111122223333" })),
      code: "identity_refused",
    },
    {
      what: "a federated user",
      answer: () => ok(callerXml({ arn: "arn:aws:sts::111122223333:federated-user/x", userId: "111122223333:x" })),
      code: "identity_refused",
    },
    {
      what: "an account that is not configured",
      answer: () => ok(callerXml({ arn: "arn:aws:iam::999988887777:user/mallory", userId: "AIDA1" })),
      code: "identity_refused",
    },
  ])("$what is refused", async ({ answer, code = "issuer_unreachable" }) => {
    await expect(verifier(answer).verify(text(await proof()))).rejects.toMatchObject({
      code,
      message: expect.not.stringContaining("secret"),
    });
  });
});

test("an account of somebody else is refused, though STS vouches for it", async () => {
  const key = { id: "AKIA0000000000EVIL", ...fakeKeys.AKIA0000000000EVIL };
  await expect(verifier().verify(text(await proof({ key })))).rejects.toMatchObject({ code: "identity_refused" });
});

test("a crowd of signed requests waits nowhere", async () => {
  const { verify } = verifier(() => new Promise<Response>(() => undefined));
  const signed = text(await proof());
  const waiting = Array.from({ length: 16 }, () => verify(signed).catch(() => undefined));
  await expect(verify(signed)).rejects.toMatchObject({ code: "issuer_unreachable" });
  expect(waiting).toHaveLength(16);
});
