import { createHash, createHmac } from "node:crypto";

/** An access key as AWS knows it, and whose it is. */
export interface FakeKey {
  readonly secret: string;
  /** Temporary credentials have one. */
  readonly token?: string;
  readonly arn: string;
  readonly userId: string;
}

/** A role's session in account 111122223333, and an IAM user of another. */
export const fakeKeys: Readonly<Record<string, FakeKey>> = {
  ASIA000000000SHOPCI: {
    secret: "role-secret",
    token: "FwoGZXIvYXdzEXAMPLE==",
    arn: "arn:aws:sts::111122223333:assumed-role/shop-ci/AWSCodeBuild-77",
    userId: "AROAEXAMPLE000000001:AWSCodeBuild-77",
  },
  AKIA0000000000EVIL: {
    secret: "user-secret",
    arn: "arn:aws:iam::999988887777:user/people/mallory",
    userId: "AIDAEXAMPLE000000009",
  },
};

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();

/** STS as its callers meet it: verifies Signature Version 4 by its own reading, and answers GetCallerIdentity in XML. */
export function fakeSts(keys: Readonly<Record<string, FakeKey>>, now: () => number) {
  const asked: Request[] = [];
  const answer = async (request: Request): Promise<Response> => {
    asked.push(request.clone());
    const body = await request.text();
    const authorization = request.headers.get("authorization") ?? "";
    const [, keyId = "", scope = "", signed = "", signature = ""] =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\S+), ?SignedHeaders=(\S+), ?Signature=(\S+)$/.exec(authorization) ?? [];
    const key = new Map(Object.entries(keys)).get(keyId);
    const token = request.headers.get("x-amz-security-token") ?? undefined;
    if (key === undefined || token !== key.token) return refusal("InvalidClientTokenId", 403);
    const date = request.headers.get("x-amz-date") ?? "";
    if (Math.abs(now() - readDate(date)) > 900_000) return refusal("SignatureDoesNotMatch", 403);
    if (signature !== expected(request, body, { secret: key.secret, scope, signed, date })) {
      return refusal("SignatureDoesNotMatch", 403);
    }
    const form = new URLSearchParams(body);
    if (form.get("Action") !== "GetCallerIdentity") return refusal("InvalidAction", 400);
    return new Response(callerXml(key), { headers: xmlHeaders });
  };
  return { answer, asked };
}

interface Signing {
  readonly secret: string;
  readonly scope: string;
  readonly signed: string;
  readonly date: string;
}

function expected(request: Request, body: string, { secret, scope, signed, date }: Signing): string {
  const { pathname, search, host } = new URL(request.url);
  const value = (name: string) => (name === "host" ? host : (request.headers.get(name) ?? "")).trim();
  const lines = signed.split(";").map((name) => `${name}:${value(name)}\n`);
  const canonical = [request.method, pathname, search.slice(1), lines.join(""), signed, sha256(body)].join("\n");
  let key: string | Buffer = `AWS4${secret}`;
  for (const part of scope.split("/")) key = hmac(key, part);
  return hmac(key, ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n")).toString("hex");
}

function readDate(date: string): number {
  return Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
}

export function callerXml({ arn, userId }: Pick<FakeKey, "arn" | "userId">, account = arn.split(":")[4] ?? ""): string {
  return `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>${arn}</Arn>
    <UserId>${userId}</UserId>
    <Account>${account}</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
`;
}

const xmlHeaders = { "content-type": "text/xml" };

function refusal(code: string, status: number): Response {
  const text = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>${code}</Code><Message>secret detail</Message></Error></ErrorResponse>`;
  return new Response(text, { status, headers: xmlHeaders });
}
