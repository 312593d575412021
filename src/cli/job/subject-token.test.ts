import { describe, expect, test } from "vitest";
import { brokerUrl, subjectSource } from "./subject-token.ts";

const withAudience = (aud: unknown): string => `e30.${Buffer.from(JSON.stringify({ aud })).toString("base64url")}.sig`;

describe("the broker's address", () => {
  test.each<{ what: string; env: Readonly<Record<string, string>>; aud: unknown; url: string }>([
    { what: "is the token's audience", env: {}, aud: "https://wayleave.example", url: "https://wayleave.example" },
    { what: "is the only one of a list", env: {}, aud: ["https://wayleave.example/"], url: "https://wayleave.example" },
    {
      what: "is WAYLEAVE_URL before the audience",
      env: { WAYLEAVE_URL: "https://b.example" },
      aud: "wayleave",
      url: "https://b.example",
    },
  ])("$what", ({ env, aud, url }) => {
    expect(brokerUrl(env, withAudience(aud))).toBe(url);
  });

  test.each<{ what: string; aud: unknown }>([
    { what: "a word", aud: "wayleave" },
    { what: "two audiences", aud: ["https://a.example", "https://b.example"] },
    { what: "plain HTTP", aud: "http://wayleave.example" },
    { what: "another scheme", aud: "ftp://wayleave.example" },
    { what: "no audience", aud: undefined },
  ])("is never guessed from $what", ({ aud }) => {
    expect(() => brokerUrl({}, withAudience(aud))).toThrow(/WAYLEAVE_URL/);
  });
});

const buildkite = {
  PATH: "/nowhere",
  BUILDKITE_JOB_ID: "0190-job",
  BUILDKITE_AGENT_ACCESS_TOKEN: "agent-secret",
  BUILDKITE_AGENT_ENDPOINT: "https://agent.example/v3/",
  WAYLEAVE_URL: "https://wayleave.example",
};

describe("a Buildkite job's token", () => {
  test("comes fresh from the agent's API, with the ids that policy needs", async () => {
    const asked: unknown[] = [];
    const source = subjectSource(
      { env: buildkite },
      {
        fetch: async (url, init) => {
          asked.push(String(url), init?.headers, JSON.parse(String(init?.body)));
          return Response.json({ token: "e30.e30.fresh" });
        },
      },
    );
    expect([source.renewable, await source.token()]).toEqual([true, "e30.e30.fresh"]);
    expect(asked).toEqual([
      "https://agent.example/v3/jobs/0190-job/oidc/tokens",
      { authorization: "Token agent-secret", "content-type": "application/json" },
      { audience: "https://wayleave.example", lifetime: 300, claims: ["organization_id", "pipeline_id", "build_id"] },
    ]);
  });

  test.each<{ what: string; answer: () => Promise<Response>; code: string }>([
    { what: "a refusal", answer: async () => new Response("no", { status: 422 }), code: "subject_token_invalid" },
    { what: "a fault", answer: async () => new Response("no", { status: 502 }), code: "issuer_unreachable" },
    { what: "no answer", answer: () => Promise.reject(new Error("agent-secret")), code: "issuer_unreachable" },
    { what: "an answer without a token", answer: async () => Response.json({}), code: "subject_token_invalid" },
  ])("is not had from $what", async ({ answer, code }) => {
    const error = await subjectSource({ env: buildkite }, { fetch: answer })
      .token()
      .catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code });
    expect(String(error)).not.toContain("agent-secret");
  });

  test("is not asked for where --id-token-env names another variable", () => {
    expect(() => subjectSource({ env: buildkite }, { idTokenEnv: "MY_TOKEN" })).toThrow(/MY_TOKEN is not set/);
  });
});
