import {
  connect,
  credsAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { MergeRequest } from "../demo/gitlab/types.ts";
import { connectBare } from "./nats-bare-client.ts";
import { type Connz, identitiesOf, monitored } from "./nats-proof-admin.ts";
import { type AttackLab, startAttackLab } from "./nats-proof-attack-lab.ts";
import { type Shown, tapServer } from "./nats-proof-tap.ts";
import { until } from "./nats-proof-world.ts";

/** Who is let in: at the gateway and, past it, at nats-server itself. */
let lab: AttackLab;
beforeAll(async () => {
  lab = await startAttackLab({ second: "bus-2", timings: { beatMs: 100, suspendAfterMs: 400 } });
});
afterAll(async () => {
  await lab?.close();
});

/** Connects with a token at the gateway; says why not. */
const enter = (token: string, { proof } = lab) =>
  connect({ servers: proof.world.natsUrl, reconnect: false, timeout: 20_000, token }).then(
    async (client) => {
      await client.close();
      return "let in";
    },
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );

const refused = (says: RegExp, { records } = lab) =>
  records.until("nats.refused", ({ data }) => says.test(`${data.code} ${data.detail}`));

/** Connections of jobs at the server itself. */
async function atServer(): Promise<number> {
  const { connections } = await monitored<Connz>(lab.proof.world, "connz?auth=1");
  return connections.filter(({ authorized_user: user = "" }) => user.startsWith("gitlab:")).length;
}

describe.each(["operator", "config"] as const)("nats-server itself takes nobody, in %s mode,", (mode) => {
  let there: AttackLab;
  beforeAll(async () => {
    there = await startAttackLab({ mode });
  });
  afterAll(async () => {
    await there?.close();
  });

  // In operator mode the server knows them for no clients of the gateway; in config mode it asks, and is told.
  const refusals = mode === "operator" ? /^server_refused$/ : /^ticket_(invalid|missing)$/;

  test.each([
    ["a valid password as its token", "password", tokenAuthenticator],
    ["a valid password", "password", (secret: string) => usernamePasswordAuthenticator("events", secret)],
    ["a CI job's own token", "token", tokenAuthenticator],
    ["a CI job's own token as password", "token", (secret: string) => usernamePasswordAuthenticator("events", secret)],
    ["a job's credentials file", "creds", (secret: string) => credsAuthenticator(new TextEncoder().encode(secret))],
  ] as const)("with %s", async (_, what, authenticator) => {
    const job = await there.proof.startJob("acme/shop");
    const secrets = {
      password: async () => (await job.credential()).password ?? "",
      token: async () => job.token,
      creds: async () => (await job.credential("creds")).creds ?? "",
    };
    const secret = await secrets[what]();
    const recorded = () => there.records.of("nats.refused").filter(({ data }) => refusals.test(data.code));
    const before = recorded().length;
    const servers = `127.0.0.1:${there.proof.world.server.port}`;
    const attempt = connect({ servers, reconnect: false, authenticator: authenticator(secret), timeout: 10_000 });
    await expect(attempt).rejects.toThrow(/authorization violation/i);
    await until(() => recorded().length > before);
    // The token was not used up: its job still gets in by the right door.
    if (what === "token") expect(await enter(job.token, there)).toBe("let in");
  });

  test("with a ticket of the gateway that somebody read on its way", async () => {
    const tap = await tapServer(there.proof.world);
    onTestFinished(tap.close);
    const job = await there.proof.startJob("acme/shop");
    const caught = tap.nextTicket();
    const client = job.connect();
    client.catch(() => undefined);
    const { shown, pass } = await caught;
    expect(shown.auth_token).toMatch(/^wlt_/);
    // Before the gateway could use it, alone and with the gateway's signature of another nonce.
    const keys = await identitiesOf(there.proof.world);
    const thieves: readonly ((nonce: string) => Partial<Shown>)[] = [
      () => ({ auth_token: shown.auth_token }),
      () => shown,
      // Whoever could sign as the gateway, too: the ticket is good on one connection only.
      (nonce) => ({ ...shown, proxy_sig: keys.proxy.sign(Buffer.from(nonce)).toString("base64url") }),
    ];
    for (const stolen of thieves) {
      const thief = await connectBare(tap.server.port, ({ nonce }) => stolen(nonce));
      expect(thief.outcome).toMatch(/^-ERR 'Authorization Violation'/);
    }
    await refused(/^ticket_elsewhere /, there);
    pass();
    const own = await client;
    await own.flush();
    const late = await connectBare(tap.server.port, () => shown);
    expect(late.outcome).toMatch(/^-ERR 'Authorization Violation'/);
    await own.close();
  });
});

describe("the gateway takes nobody", () => {
  test.each([
    ["without a credential", {}, /no credential was sent/],
    ["with two", { auth_token: "a", pass: "b" }, /CONNECT holds two credentials/],
    ["with a password of nobody", { auth_token: "wln_forged" }, /the password is none of ours, or damaged/],
    ["with a token of nobody", { auth_token: "aGk.aGk.aGk" }, /^-ERR 'Authorization Violation: /],
    ["with a ticket", { auth_token: "wlt_aGk.aGk" }, /neither one of `wayleave nats env` nor a CI job/],
  ])("%s", async (_, options, says) => {
    const raw = await lab.raw();
    raw.say(`CONNECT ${JSON.stringify({ headers: true, ...options })}\r\nPING\r\n`);
    await until(() => raw.closed());
    expect(raw.heard()).toMatch(says);
    expect(raw.heard()).not.toContain("PONG");
    await refused(/^(credential_invalid|subject_token_invalid)/);
  });

  test("with a CI token that its job used over HTTP, and traces it by its fingerprint", async () => {
    const job = await lab.proof.startJob("acme/shop");
    await job.session();
    expect(await enter(job.token)).toMatch(
      /This token was first used \S+ by ses_\w+ .*give what `wayleave nats env` prints/,
    );
    const { data } = await refused(/^subject_token_replayed/);
    expect(data.token).toMatch(/^fp_/);
    expect(JSON.stringify(data)).not.toContain(job.token.split(".")[2]);
  });

  test("and a CI token that was used here opens nothing over HTTP, while its own client comes again", async () => {
    const job = await lab.proof.startJob("acme/shop");
    expect(await enter(job.token)).toBe("let in");
    const { status, body } = await lab.proof.world.client.exchange(job.token);
    expect([status, body.code]).toEqual([400, "subject_token_replayed"]);
    expect(await enter(job.token)).toBe("let in");
    const opened = lab.records.of("session.opened").filter(({ job: of }) => of?.job_id === String(job.job.id));
    expect(opened).toHaveLength(1);
  });

  test("with another gateway's password", async () => {
    const job = await lab.proof.startJob("acme/shop");
    const { password } = (await job.ask("nats", { form: "password", gateway: "bus-2" })) as { password: string };
    expect(await enter(password)).toContain("the password is for gateway bus-2, and this is bus.");
    await refused(/^credential_invalid the password is for gateway bus-2/);
    const own = (await job.credential()).password ?? "";
    expect(await enter(own)).toBe("let in");
  });

  test("whose session ended: its connections close, and it does not come back", async () => {
    const job = await lab.proof.startJob("acme/shop");
    const client = await job.connect({ reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 10 });
    await client.flush();
    lab.proof.gitlab.succeedJob(job.job);
    const error = await client.closed();
    expect(String(error)).toMatch(/session ended: job finished \d+ s ago/);
    expect(await enter((await job.credential()).password ?? "")).toMatch(/session ended: job finished \d+ s ago/);
    await refused(/^session_ended session ended: job finished/);
    const session = await job.session();
    const { data } = await lab.records.until("nats.disconnected", (record) => record.session === session);
    expect(data).toMatchObject({ reason: "session_ended", server: {} });
    await until(async () => (await atServer()) === 0);
  });

  test("whose session is suspended, until it beats again", async () => {
    const { job, raw } = await lab.attacker();
    await job.ask("lease", { lease: "lease-001" });
    await until(() => raw.closed());
    expect(raw.heard()).toContain("the session is suspended until its lease resumes; reconnect");
    const { password = "" } = await job.credential();
    expect(await enter(password)).toMatch(/session suspended: the job's command missed its heartbeats|suspended/);
    await refused(/^session_suspended/);
    await job.ask("lease", { lease: "lease-001" });
    await job.ask("release", { lease: "lease-001" });
    expect(await enter(password)).toBe("let in");
  });

  test("whose job runs a fork's merge request", async () => {
    const { gitlab, people } = lab.proof;
    const shop = lab.proof.projects.get("acme/shop");
    if (shop === undefined) throw new TypeError("there is a shop");
    const fork = gitlab.forkProject(shop, { path: `evil-${Date.now()}/shop`, members: { dana: "maintainer" } });
    gitlab.pushCommit(fork, "feature/x");
    const mergeRequest: MergeRequest = gitlab.openMergeRequest(shop, {
      ...{ sourceBranch: "feature/x", sourceProject: fork, author: people.dana },
    });
    const job = await lab.proof.startJob("acme/shop", { source: "merge_request_event", mergeRequest });
    expect(await enter(job.token)).toBe(
      "Authorization Violation: No role of this job names a NATS target of gateway bus.",
    );
    await refused(/^access_denied No role of this job/);
  });
});

test("no secret that was presented is in any record", async () => {
  const text = JSON.stringify(lab.records.seen);
  expect(text).toContain("nats.refused");
  for (const form of [/wln_[\w-]{20}/, /wlt_[\w-]{20}/, /eyJ[\w-]{20,}\.eyJ/, /SU[A-Z2-7]{56}/])
    expect(text).not.toMatch(form);
});
