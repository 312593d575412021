import { createHash, createHmac, randomBytes } from "node:crypto";
import {
  type AwsProof,
  awsAudienceHeader,
  awsNonceHeader,
  awsProofBody,
  awsProofContentType,
  awsProofPrefix,
} from "../../core/aws-proof.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import { isSecure } from "./target-address.ts";

type Env = CommandIo["env"];

/** Credentials of an AWS principal, as every AWS tool finds them. */
interface AwsCredentials {
  readonly keyId: string;
  readonly secret: string;
  readonly token?: string;
}

/** True in CodeBuild, and wherever WAYLEAVE_AWS says so: AWS credentials alone may be there for another purpose. */
export function signsForAws(env: Env): boolean {
  return Boolean(env.WAYLEAVE_AWS || env.CODEBUILD_BUILD_ID);
}

/**
 * A `GetCallerIdentity` signed with the job's AWS credentials, for this broker alone. The credentials never leave the job.
 * Rejects `invalid_request` where region or credentials are missing, `issuer_unreachable` where the container's do not come.
 *
 * @see AWS Signature Version 4, https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
 */
export async function awsProof(
  env: Env,
  audience: string,
  options: { readonly fetch?: typeof fetch; readonly now?: () => number },
): Promise<string> {
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION;
  if (!region || !/^[a-z0-9-]{1,32}$/.test(region)) {
    throw new WayleaveError(
      "invalid_request",
      "No AWS region: set AWS_REGION to that of the STS which the broker asks.",
    );
  }
  const suffix = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const endpoint = (env.AWS_ENDPOINT_URL_STS || `https://sts.${region}.${suffix}`).replace(/\/+$/, "");
  if (!URL.canParse(endpoint) || !isSecure(new URL(endpoint))) {
    throw new WayleaveError("invalid_request", "AWS_ENDPOINT_URL_STS is no https address; leave it out for AWS's own.");
  }
  const credentials = fromEnvironment(env) ?? (await fromContainer(env, options.fetch ?? fetch));
  const proof = sign({ endpoint, region, audience, credentials, now: (options.now ?? Date.now)() });
  return awsProofPrefix + Buffer.from(JSON.stringify(proof)).toString("base64url");
}

function fromEnvironment(env: Env): AwsCredentials | undefined {
  const { AWS_ACCESS_KEY_ID: keyId, AWS_SECRET_ACCESS_KEY: secret, AWS_SESSION_TOKEN: token } = env;
  return keyId && secret ? { keyId, secret, ...(token ? { token } : {}) } : undefined;
}

/** Of CodeBuild and ECS, by the address that AWS sets; not of a machine's metadata service, which is nobody's job. */
async function fromContainer(env: Env, fetcher: typeof fetch): Promise<AwsCredentials> {
  const path = env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI;
  if (!path?.startsWith("/")) {
    throw new WayleaveError(
      "invalid_request",
      "No AWS credentials: neither AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY nor AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set.",
    );
  }
  const answer = await fetcher(`http://169.254.170.2${path}`, {
    redirect: "manual",
    signal: AbortSignal.timeout(10_000),
  }).catch(() => undefined);
  const body = (await answer?.json().catch(() => undefined)) as Readonly<Record<string, unknown>> | undefined;
  const { AccessKeyId: keyId, SecretAccessKey: secret, Token: token } = body ?? {};
  if (typeof keyId !== "string" || typeof secret !== "string" || typeof token !== "string") {
    throw new WayleaveError("issuer_unreachable", "AWS gave the container no credentials; look at the job's role.");
  }
  return { keyId, secret, token };
}

interface ToSign {
  readonly endpoint: string;
  readonly region: string;
  readonly audience: string;
  readonly credentials: AwsCredentials;
  /** ms since the epoch. */
  readonly now: number;
}

function sign({ endpoint, region, audience, credentials, now }: ToSign): AwsProof {
  const date = new Date(now).toISOString().replaceAll(/[-:]|\.\d{3}/g, "");
  const nonce = randomBytes(18).toString("base64url");
  const headers: Readonly<Record<string, string>> = {
    "content-type": awsProofContentType,
    host: new URL(endpoint).host,
    "x-amz-date": date,
    ...(credentials.token === undefined ? {} : { "x-amz-security-token": credentials.token }),
    [awsAudienceHeader]: audience,
    [awsNonceHeader]: nonce,
  };
  const names = Object.keys(headers).toSorted();
  const signedHeaders = names.join(";");
  const lines = names.map((name) => `${name}:${headers[name]}\n`).join("");
  const request = ["POST", "/", "", lines, signedHeaders, sha256(awsProofBody)].join("\n");
  const scope = `${date.slice(0, 8)}/${region}/sts/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", date, scope, sha256(request)].join("\n");
  const key = [date.slice(0, 8), region, "sts", "aws4_request"].reduce<string | Buffer>(
    (before, part) => hmac(before, part),
    `AWS4${credentials.secret}`,
  );
  const signature = hmac(key, text).toString("hex");
  return {
    endpoint,
    authorization: `AWS4-HMAC-SHA256 Credential=${credentials.keyId}/${scope}, SignedHeaders=${signedHeaders}, Signature=${signature}`,
    date,
    nonce,
    ...(credentials.token === undefined ? {} : { token: credentials.token }),
  };
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();
