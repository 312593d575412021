import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Project } from "../demo/gitlab/types.ts";
import { wayleave } from "./job-process.ts";
import { type GitlabJob, type JobWorld, startJobWorld } from "./job-world.ts";

let at: JobWorld;

beforeAll(async () => {
  at = await startJobWorld();
});
afterAll(async () => {
  await at?.close();
});

/** Runs a command with this identity; resolves with what it printed, its exit status and, for a refusal, its record. */
async function execWith(env: GitlabJob["env"]) {
  const earlier = new Set(at.records.of("exchange.refused").map((record) => record.id));
  const done = await wayleave(env, "exec", "--", "sh", "-c", "echo ran");
  if (done.status !== 3) return done;
  // Records come in order: once the refusal is here, a session that was opened against it would be too.
  const refused = await at.records.until("exchange.refused", (record) => !earlier.has(record.id));
  expect(done.err).toContain(refused.id);
  return { ...done, code: refused.data.code, refused };
}

const opened = () => at.records.of("session.opened").length;

describe("a merge request's pipeline from a fork", () => {
  let fork: Project;
  let evil: ReturnType<JobWorld["ci"]["gitlab"]["openMergeRequest"]>;
  let mallory: ReturnType<JobWorld["ci"]["gitlab"]["createUser"]>;

  beforeAll(() => {
    const { gitlab, shop } = at.ci;
    mallory = gitlab.createUser({ username: "mallory" });
    fork = gitlab.forkProject(shop, { path: "mallory/shop", members: { mallory: "owner" } });
    gitlab.pushCommit(fork, "feature/evil");
    evil = gitlab.openMergeRequest(shop, { sourceBranch: "feature/evil", sourceProject: fork, author: mallory });
  });

  test.each([
    { where: "the fork", project: () => fork, user: () => mallory },
    { where: "the project itself, started by a member", project: () => at.ci.shop, user: () => at.ci.dana },
  ])("that runs in $where gets nothing, and its command does not run", async ({ project, user }) => {
    const before = opened();
    const { env } = await at.startJob({
      project: project(),
      source: "merge_request_event",
      mergeRequest: evil,
      user: user(),
    });
    const done = await execWith(env);
    expect([done, opened()]).toMatchObject([{ status: 3, out: "", code: "no_role" }, before]);
  });
});

describe("a token of the right issuer that is no job's", () => {
  test("a person's sign-in token is refused", async () => {
    const { job } = await at.startJob();
    const before = opened();
    const token = await at.ci.gitlab.humanToken(at.ci.dana, { aud: at.world.config.issuer });
    const done = await execWith(at.env(job, token));
    expect([done, opened()]).toMatchObject([{ status: 3, out: "", code: "identity_refused" }, before]);
    expect(JSON.stringify(done)).not.toContain(token);
  });
});

describe("a job's token that was not made for this broker and now", () => {
  test.each<{ what: string; aud: (issuer: string) => string | string[]; issuedAt?: number; code: string }>([
    { what: "for another audience", aud: () => "https://vault.acme.example", code: "audience_refused" },
    {
      what: "for a second audience too",
      aud: (issuer) => [issuer, "https://vault.acme.example"],
      code: "audience_refused",
    },
    {
      what: "that expired",
      aud: (issuer) => issuer,
      issuedAt: Date.now() - 2 * 3_600_000,
      code: "subject_token_expired",
    },
    {
      what: "that is not valid yet",
      aud: (issuer) => issuer,
      issuedAt: Date.now() + 3_600_000,
      code: "subject_token_invalid",
    },
  ])("$what is refused as $code", async ({ aud, issuedAt, code }) => {
    const { job } = await at.startJob();
    const before = opened();
    const options = issuedAt === undefined ? {} : { issuedAt };
    const token = await at.ci.gitlab.idToken(job, { aud: aud(at.world.config.issuer), ...options });
    const done = await execWith(at.env(job, token));
    expect([done, opened()]).toMatchObject([{ status: 3, out: "", code }, before]);
  });
});

describe("an issuer that rotates its key", () => {
  test("is asked again at most once in 30 s, and then its new key is good", async () => {
    const { gitlab } = at.ci;
    const earlier = await at.startJob();
    expect((await execWith(earlier.env)).out).toBe("ran\n");
    await gitlab.rotateKey();
    const early = await at.startJob();
    const asked = gitlab.fetches.jwks;
    const refused = await execWith(early.env);
    expect([refused, gitlab.fetches.jwks]).toMatchObject([{ status: 3, code: "subject_token_invalid" }, asked]);

    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, "now").mockImplementation(() => now() + 31_000);
    try {
      const later = await execWith(early.env);
      expect([later.status, later.out, gitlab.fetches.jwks]).toEqual([0, "ran\n", asked + 1]);
    } finally {
      clock.mockRestore();
    }
  });
});
