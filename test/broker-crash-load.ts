import { randomBytes } from "node:crypto";
import { request } from "undici";
import type { Gitlab } from "../demo/gitlab/gitlab.ts";
import { startGitlab } from "../demo/gitlab/gitlab.ts";
import type { Job, Project, User } from "../demo/gitlab/types.ts";
import { createJobClient } from "../demo/job-client.ts";
import type { CiPart } from "../demo/world.ts";
import type { BrokerInstallation } from "./broker-installation.ts";
import { askEdge } from "./edge-question.ts";
import { askOperator } from "./operator.ts";

/** What a broker promised by answering: the id of a record. */
export interface Promised {
  readonly record: string;
  readonly kind: "session.opened" | "decision";
}

/** One job of the load and what the broker answered about it. */
export interface LoadedJob {
  readonly job: Job;
  readonly subjectToken: string;
  readonly idempotencyKey: string;
  readonly accessToken: string;
  readonly session: string;
  readonly end: "none" | "client" | "hook" | "operator";
  /** The end was answered with success. */
  ended: boolean;
}

export interface CrashCi {
  readonly gitlab: Gitlab;
  readonly user: User;
  readonly shop: Project;
  readonly part: CiPart;
}

/** A GitLab with one project, a signed Job Hook and no API token. */
export async function startCrashCi(brokerUrl: string): Promise<CrashCi> {
  const gitlab = await startGitlab({ now: Date.now });
  const user = gitlab.createUser({ username: "dana" });
  const shop = gitlab.createProject({ path: "acme/shop", members: { dana: "developer" } });
  const signingToken = `whsec_${randomBytes(32).toString("base64")}`;
  gitlab.addHook({ url: `${brokerUrl}/hooks/gitlab/shop`, project: shop, signingToken, events: ["job"] });
  const webhook = { name: "shop", projects: [String(shop.id)], signing_token_file: "hook.token" };
  const issuer = { name: "gitlab", type: "gitlab", url: gitlab.issuer, webhooks: [webhook] };
  return { gitlab, user, shop, part: { issuer, files: { "hook.token": signingToken } } };
}

export interface LoadOptions {
  readonly installation: BrokerInstallation;
  readonly ci: CrashCi;
  /** How each job ends, in turn. */
  readonly ends: readonly LoadedJob["end"][];
  /** Called for each promise, as soon as it was made. */
  readonly onPromise: (promised: Promised) => void;
  /** True once the broker is being killed: what fails then, fails for that. */
  readonly killed: () => boolean;
}

const lanes = 8;

/** Exchanges, decisions and ends from eight jobs at once, until the broker is gone. Resolves with every job that got a session. */
export async function loadUntilKilled(options: LoadOptions): Promise<readonly LoadedJob[]> {
  const jobs: LoadedJob[] = [];
  const client = createJobClient(options.installation.url, "");
  let next = 0;
  const lane = async () => {
    while (!options.killed()) {
      const end = options.ends[next++ % options.ends.length] ?? "none";
      await runOneJob(options, client, jobs, end);
    }
  };
  const quiet = (error: unknown) => {
    if (!options.killed()) throw error;
  };
  await Promise.all(Array.from({ length: lanes }, () => lane().catch(quiet)));
  await client.close();
  await options.ci.gitlab.flush();
  return jobs;
}

async function runOneJob(
  { installation, ci, onPromise }: LoadOptions,
  client: ReturnType<typeof createJobClient>,
  jobs: LoadedJob[],
  end: LoadedJob["end"],
): Promise<void> {
  const job = startJob(ci);
  const subjectToken = await ci.gitlab.idToken(job, { aud: installation.url });
  const idempotencyKey = randomBytes(16).toString("hex");
  const { status, body } = await client.exchange(subjectToken, idempotencyKey);
  if (status !== 200) throw new Error(`the exchange answered ${status}: ${JSON.stringify(body)}`);
  const accessToken = String(body.access_token);
  const loaded: LoadedJob = {
    ...{ job, subjectToken, idempotencyKey, accessToken, end },
    session: String(body.session_id),
    ended: false,
  };
  jobs.push(loaded);
  onPromise({ record: String(body.record), kind: "session.opened" });
  for (const method of ["GET", "DELETE", "GET"]) {
    const answer = await askEdge(installation, { ...billing, method, token: accessToken });
    if (answer.record === "") throw new Error(`a decision without a record: ${answer.reason}`);
    onPromise({ record: answer.record, kind: "decision" });
  }
  loaded.ended = await endJob(installation, ci, loaded, String(body.refresh_token));
}

/** What the load asks for. */
export const billing = { target: "billing", host: "billing.internal", path: "/v1/invoices/42" } as const;

/** A running job of the project. */
export function startJob({ gitlab, shop, user }: CrashCi): Job {
  const [job] = gitlab.startPipeline(shop, { user, jobs: ["build"] }).jobs;
  if (job === undefined) throw new TypeError("the pipeline has a job");
  gitlab.runJob(job);
  return job;
}

/** True where the broker acknowledged the end. */
async function endJob(
  installation: BrokerInstallation,
  { gitlab }: CrashCi,
  { job, end, session }: LoadedJob,
  refreshToken: string,
): Promise<boolean> {
  if (end === "none") return false;
  if (end === "hook") {
    gitlab.succeedJob(job);
    const delivery = gitlab.deliveries.findLast(({ body }) => body.includes(`"build_id":${job.id},`));
    if (delivery === undefined) throw new TypeError("the job's success was hooked");
    await gitlab.redeliver(delivery); // resolves after the first attempt and a second one, as a CI that is not sure does
    return delivery.state === "delivered";
  }
  if (end === "client") {
    const headers = { authorization: `Bearer ${refreshToken}` };
    const { statusCode, body } = await request(`${installation.url}/v1/session/end`, { method: "POST", headers });
    await body.dump();
    return statusCode === 204;
  }
  const broker = { adminSocket: installation.adminSocket };
  const { status } = await askOperator({ broker }, "POST", `/v1/sessions/${session}/end`, { because: "a test" });
  return status === 200;
}
