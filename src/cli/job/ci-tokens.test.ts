import { describe, expect, test } from "vitest";
import { awsProofPrefix } from "../../core/aws-proof.ts";
import { ciJob } from "./ci-job.ts";
import { subjectSource } from "./subject-token.ts";

type Answer = () => Response | Promise<Response>;

const github = {
  WAYLEAVE_URL: "https://wayleave.example",
  ACTIONS_ID_TOKEN_REQUEST_URL: "https://vstoken.example/x?api-version=2.0",
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: "request-secret",
};

describe("a GitHub job's token", () => {
  const from = (answer: Answer, env: Readonly<Record<string, string>> = github) => {
    const asked: { readonly url: string; readonly init: RequestInit | undefined }[] = [];
    const source = subjectSource(
      { env },
      {
        fetch: async (url, init) => {
          asked.push({ url: String(url), init });
          return answer();
        },
      },
    );
    return { source, asked };
  };

  test("comes fresh, for the broker alone", async () => {
    const { source, asked } = from(() => Response.json({ value: "e30.e30.fresh" }));
    expect([source.renewable, await source.token()]).toEqual([true, "e30.e30.fresh"]);
    expect(asked[0]?.url).toBe("https://vstoken.example/x?api-version=2.0&audience=https%3A%2F%2Fwayleave.example");
    expect(asked[0]?.init).toMatchObject({ redirect: "manual", headers: { authorization: "Bearer request-secret" } });
  });

  test.each<{ what: string; answer: Answer; code: string }>([
    { what: "a refusal", answer: () => new Response("no", { status: 401 }), code: "subject_token_invalid" },
    { what: "a redirect", answer: () => new Response("", { status: 302 }), code: "subject_token_invalid" },
    { what: "a fault", answer: () => new Response("no", { status: 503 }), code: "issuer_unreachable" },
    { what: "too many", answer: () => new Response("no", { status: 429 }), code: "issuer_unreachable" },
    { what: "no answer", answer: () => Promise.reject(new Error("request-secret")), code: "issuer_unreachable" },
    { what: "no token", answer: () => Response.json({}), code: "subject_token_invalid" },
  ])("is not had from $what", async ({ answer, code }) => {
    const error: unknown = await from(answer)
      .source.token()
      .catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code });
    expect(String(error)).not.toContain("request-secret");
  });

  test("is never asked for by plain HTTP", async () => {
    const plain = { ...github, ACTIONS_ID_TOKEN_REQUEST_URL: "http://vstoken.example/x" };
    const { source, asked } = from(() => Response.json({ value: "e30.e30.x" }), plain);
    await expect(source.token()).rejects.toMatchObject({ code: "invalid_request" });
    expect(asked).toEqual([]);
  });

  test("without the permission says which", () => {
    expect(() => subjectSource({ env: { GITHUB_ACTIONS: "true" } })).toThrow(/permissions: \{ id-token: write \}/);
  });
});

describe("an AWS job's proof", () => {
  const aws = {
    WAYLEAVE_URL: "https://wayleave.example",
    WAYLEAVE_AWS: "1",
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "ASIA000000000SHOPCI",
    AWS_SECRET_ACCESS_KEY: "aws-secret",
    AWS_SESSION_TOKEN: "session",
  };
  const read = (proof: string) =>
    JSON.parse(Buffer.from(proof.slice(awsProofPrefix.length), "base64url").toString()) as Record<string, string>;

  test("is for one address, another each time, and holds no secret", async () => {
    const source = subjectSource({ env: aws });
    const [one, other] = [await source.token(), await source.token()];
    expect(read(one)).toMatchObject({ endpoint: "https://sts.eu-central-1.amazonaws.com", token: "session" });
    expect(one).not.toBe(other);
    expect(JSON.stringify(read(one))).not.toContain("aws-secret");
  });

  test("takes the container's credentials, as CodeBuild has them", async () => {
    const { AWS_ACCESS_KEY_ID: _id, AWS_SECRET_ACCESS_KEY: _secret, AWS_SESSION_TOKEN: _token, ...rest } = aws;
    const asked: string[] = [];
    const source = subjectSource(
      { env: { ...rest, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: "/v2/x" } },
      {
        fetch: async (url) => {
          asked.push(String(url));
          return Response.json({ AccessKeyId: "ASIA00000000000BUILD", SecretAccessKey: "s", Token: "t" });
        },
      },
    );
    expect(read(await source.token()).authorization).toContain("Credential=ASIA00000000000BUILD/");
    expect(asked).toEqual(["http://169.254.170.2/v2/x"]);
  });

  test.each<{ what: string; env: Readonly<Record<string, string>> }>([
    { what: "a region", env: { ...aws, AWS_REGION: "" } },
    { what: "a region that is one", env: { ...aws, AWS_REGION: "evil.example/" } },
    { what: "credentials", env: { ...aws, AWS_SECRET_ACCESS_KEY: "" } },
    { what: "an address by HTTPS", env: { ...aws, AWS_ENDPOINT_URL_STS: "http://sts.example" } },
    {
      what: "a container's own path",
      env: { ...aws, AWS_ACCESS_KEY_ID: "", AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: "@evil.example/" },
    },
  ])("is not made without $what", async ({ env }) => {
    await expect(subjectSource({ env }).token()).rejects.toMatchObject({ code: "invalid_request" });
  });

  test("is not made where nobody asked: AWS credentials may be there for another purpose", () => {
    const { WAYLEAVE_AWS: _, ...rest } = aws;
    expect(() => subjectSource({ env: rest })).toThrow(/WAYLEAVE_ID_TOKEN is not set/);
  });
});

describe("the job, by the CI's own variables,", () => {
  const run = {
    GITHUB_SERVER_URL: "https://github.com",
    GITHUB_REPOSITORY: "acme/shop",
    GITHUB_RUN_ID: "9001",
    GITHUB_RUN_ATTEMPT: "1",
    GITHUB_JOB: "test",
    RUNNER_NAME: "r-1",
    GITHUB_WORKSPACE: "/home/runner/work/shop/shop",
  };

  test("is GitHub's, and no two legs of a matrix are one", () => {
    expect(ciJob({ env: run })).toMatchObject({ ci: "github", projectFolder: "/home/runner/work/shop/shop" });
    const keys = Object.keys(run)
      .filter((name) => name !== "GITHUB_WORKSPACE")
      .map((name) => ciJob({ env: { ...run, [name]: "other" } }).key);
    expect(new Set([ciJob({ env: run }).key, ...keys]).size).toBe(7);
  });

  test.each([
    { env: { CIRCLE_WORKFLOW_JOB_ID: "c" } },
    { env: { BITBUCKET_PIPELINE_UUID: "p", BITBUCKET_STEP_UUID: "s" } },
    { env: { CODEBUILD_BUILD_ID: "b" } },
    { env: { JENKINS_URL: "https://j.example", BUILD_TAG: "t" } },
  ])("is found in $env", ({ env }) => {
    expect(ciJob({ env }).ci).toBe("other");
  });

  test("is what an older version called it", () => {
    expect(ciJob({ env: { CI_SERVER_URL: "https://g.example", CI_JOB_ID: "7" } }).key).toBe("https://g.example 7");
    expect(ciJob({ env: { BUILDKITE_ORGANIZATION_SLUG: "acme", BUILDKITE_JOB_ID: "j" } }).key).toBe("buildkite acme j");
  });

  test.each([{ GITHUB_RUN_ID: "9001" }, { BITBUCKET_STEP_UUID: "s" }, {}])("is nobody's in %j", (env) => {
    expect(() => ciJob({ env })).toThrow(/does not look like a CI job/);
  });
});
