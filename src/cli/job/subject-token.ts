import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import { awsProof, signsForAws } from "./aws-proof.ts";
import { jwtPayload } from "./ci-job.ts";
import { githubToken, isGithubJob } from "./github-token.ts";
import { isSecure } from "./target-address.ts";

/** Where the job's identity token comes from, and the broker it is for. */
export interface SubjectSource {
  /** The broker's public URL, without final slash: WAYLEAVE_URL, or the token's audience. */
  readonly brokerUrl: string;
  /** True where the CI gives a fresh token on demand, so that the session may outlive one. */
  readonly renewable: boolean;
  token(): Promise<string>;
}

export interface SubjectOptions {
  /** Name of the variable that holds the token. Default: WAYLEAVE_ID_TOKEN. */
  readonly idTokenEnv?: string;
  readonly fetch?: typeof fetch;
  /** ms since the epoch. Default: the clock. */
  readonly now?: () => number;
}

const buildkiteClaims = ["organization_id", "pipeline_id", "build_id"];
const lifetimeSeconds = 300;

/** Finds the CI's identity token. Throws `invalid_request`, saying what to add to the pipeline, where there is none. */
export function subjectSource(io: Pick<CommandIo, "env">, options: SubjectOptions = {}): SubjectSource {
  const { env } = io;
  const name = options.idTokenEnv ?? "WAYLEAVE_ID_TOKEN";
  const token = env[name];
  if (token) return { brokerUrl: brokerUrl(env, token), renewable: false, token: async () => token };
  if (options.idTokenEnv === undefined && env.BUILDKITE_JOB_ID) {
    const url = brokerUrl(env, undefined);
    return { brokerUrl: url, renewable: true, token: () => buildkiteToken(env, url, options.fetch ?? fetch) };
  }
  if (options.idTokenEnv === undefined && isGithubJob(env)) {
    const url = brokerUrl(env, undefined);
    return { brokerUrl: url, renewable: true, token: () => githubToken(env, url, options.fetch ?? fetch) };
  }
  if (options.idTokenEnv === undefined && signsForAws(env)) {
    const url = brokerUrl(env, undefined);
    return { brokerUrl: url, renewable: true, token: () => awsProof(env, url, options) };
  }
  throw new WayleaveError(
    "invalid_request",
    `No identity token: ${name} is not set${env.GITHUB_ACTIONS ? ", and the job lacks `permissions: { id-token: write }`" : ""}. In .gitlab-ci.yml add to the job: id_tokens: { ${name}: { aud: <the broker's URL> } }`,
  );
}

/** The broker's URL, from the environment or from the token's only audience. */
export function brokerUrl(env: CommandIo["env"], token: string | undefined): string {
  const aud = token === undefined ? undefined : jwtPayload(token)?.aud;
  const audience = Array.isArray(aud) && aud.length === 1 ? aud[0] : aud;
  const url = env.WAYLEAVE_URL || (typeof audience === "string" ? audience : "");
  if (!URL.canParse(url) || !isSecure(new URL(url))) {
    throw new WayleaveError(
      "invalid_request",
      "The broker's address is unknown: set WAYLEAVE_URL to its https URL, or make that the token's only audience.",
    );
  }
  return url.replace(/\/+$/, "");
}

async function buildkiteToken(env: CommandIo["env"], audience: string, fetcher: typeof fetch): Promise<string> {
  return (await fromAgent(env, audience)) ?? (await fromAgentApi(env, audience, fetcher));
}

/** By the agent's own command, which also redacts the token in the log; undefined where there is no such command. */
async function fromAgent(env: CommandIo["env"], audience: string): Promise<string | undefined> {
  const args = ["oidc", "request-token", "--audience", audience, "--lifetime", String(lifetimeSeconds)];
  try {
    const options = { env: { ...env }, timeout: 60_000 };
    const { stdout } = await promisify(execFile)(
      "buildkite-agent",
      [...args, "--claim", buildkiteClaims.join(",")],
      options,
    );
    return stdout.trim() || undefined;
  } catch {
    return undefined; // not installed in this container, or refused: the agent's API says which
  }
}

async function fromAgentApi(env: CommandIo["env"], audience: string, fetcher: typeof fetch): Promise<string> {
  const { BUILDKITE_JOB_ID: job, BUILDKITE_AGENT_ACCESS_TOKEN: access, BUILDKITE_AGENT_ENDPOINT: endpoint } = env;
  if (!access || !endpoint || !job) {
    throw new WayleaveError(
      "invalid_request",
      "No identity token: neither `buildkite-agent` nor BUILDKITE_AGENT_ACCESS_TOKEN with BUILDKITE_AGENT_ENDPOINT is here. Pass them into the container.",
    );
  }
  const response = await fetcher(`${endpoint.replace(/\/+$/, "")}/jobs/${encodeURIComponent(job)}/oidc/tokens`, {
    method: "POST",
    headers: { authorization: `Token ${access}`, "content-type": "application/json" },
    body: JSON.stringify({ audience, lifetime: lifetimeSeconds, claims: buildkiteClaims }),
    signal: AbortSignal.timeout(30_000),
  }).catch((cause: unknown) => {
    throw new WayleaveError("issuer_unreachable", "Buildkite's agent API did not answer; retry the job.", { cause });
  });
  const body = (await response.json().catch(() => undefined)) as { token?: unknown } | undefined;
  if (!response.ok || typeof body?.token !== "string") {
    const code = response.status >= 500 ? "issuer_unreachable" : "subject_token_invalid";
    throw new WayleaveError(code, `Buildkite gave no identity token (HTTP ${response.status}); see the agent's log.`);
  }
  return body.token;
}
