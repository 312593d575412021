import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startWayleave } from "./job-process.ts";
import { type GitlabJob, type JobWorld, startJobWorld } from "./job-world.ts";

/** The proxy inside `serve`, for a real job's `wayleave exec`: its requests, its TCP connections, and their end. */
let at: JobWorld;
let db: Server;
let folder: string;
let front: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-proxy-"));
  db = createServer((socket) => socket.on("error", () => undefined).pipe(socket));
  await once(db.listen(0, "127.0.0.1"), "listening");
  const policy = join(folder, "policy.yaml");
  writeFileSync(
    policy,
    `version: 1
targets:
  billing: { http: { hosts: [billing.localhost] }, assertion: required }
  reports: { http: { hosts: [reports.localhost] } }
  db: { tcp: { address: "127.0.0.1:${(db.address() as AddressInfo).port}" } }
  vault: { tcp: { address: "127.0.0.1:1" } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read: { for: shop, allow: { billing: ["GET /v1/invoices/**"], db: [connect] } }
  none: { for: shop, when: change.merged && change.approvals >= 99, allow: { vault: [connect] } }
`,
  );
  const gateways = async (upstream: string) => [
    {
      name: "front",
      kind: "proxy",
      targets: ["billing", "db", "vault"],
      listen: "127.0.0.1:0",
      upstreams: { billing: { url: `http://${upstream}` } },
    },
  ];
  at = await startJobWorld({ world: { policy, gateways } });
  front = `http://127.0.0.1:${at.world.broker.proxyPorts.front}`;
});
afterAll(async () => {
  await at?.close();
  db?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A command that connects to what a variable names when told to, and prints what comes back for each line. */
const talk = `const net = require("node:net"), readline = require("node:readline").createInterface({ input: process.stdin });
let socket;
readline.on("line", (line) => {
  const [verb, rest] = [line.split(" ", 1)[0], line.slice(line.indexOf(" ") + 1)];
  if (verb === "say") return socket.write(rest);
  const [host, port] = process.env["WAYLEAVE_" + rest + "_ADDRESS"].split(":");
  socket = net.connect(Number(port), host);
  socket.on("error", () => {}).on("data", (data) => console.log("got " + data)).on("close", () => console.log("closed"));
  if (verb === "open") socket.on("connect", () => console.log("connected"));
});`;

const execTalk = (...forwards: readonly string[]) => [
  "exec",
  ...forwards.flatMap((name) => ["--forward", `${name}=0`, "--target", `${name}=${front}`]),
  ...["--", process.execPath, "-e", talk],
];

const decisionsOf = (job: GitlabJob, target: string) =>
  at.records.of("decision").filter(({ job: of, data }) => of?.job_id === String(job.job.id) && data.target === target);

test("a job's requests go through it, with the assertion that the service wants", async () => {
  const job = await at.startJob();
  const curl = 'curl -s -o /dev/null -w "%{http_code}\\n" "$WAYLEAVE_BILLING_URL/v1/$path"';
  const loop = `while read -r path; do ${curl}; done`;
  const running = startWayleave(job.env, "exec", "--target", `billing=${front}`, "--", "sh", "-c", loop);
  expect([await running.ask("invoices/42"), await running.ask("other")]).toEqual(["200", "403"]);
  const { err } = await running.finish();
  expect(err).toContain("no role of this job names GET /v1/other");
  expect(decisionsOf(job, "billing").map(({ data }) => [data.gateway, data.outcome])).toEqual([
    ["front", "allow"],
    ["front", "deny"],
  ]);
});

test("a job's TCP connections go through it, are counted, and end with its session", async () => {
  const job = await at.startJob();
  const running = startWayleave(job.env, ...execTalk("db"));
  expect(await running.ask("open DB")).toBe("connected");
  expect(await running.ask("say select 1")).toBe("got select 1");
  at.ci.gitlab.succeedJob(job.job);
  await at.ci.gitlab.flush();
  expect(await running.line()).toBe("closed");
  await running.finish();
  const closed = await at.records.until("stream.closed", ({ data }) => data.target === "db");
  expect(closed.data).toMatchObject({
    transport: "tcp",
    bytes_in: 8,
    bytes_out: 8,
    ended_by: "wayleave",
    reason: "session_ended",
  });
  expect(closed.job?.job_id).toBe(String(job.job.id));
  expect(decisionsOf(job, "db").map(({ data }) => [data.operation, data.outcome])).toEqual([["connect", "allow"]]);
});

test("a connection that policy refuses is closed, and explained in the job's log", async () => {
  const job = await at.startJob();
  const running = startWayleave(job.env, ...execTalk("vault"));
  expect(await running.ask("reach VAULT")).toBe("closed");
  const { err } = await running.finish();
  expect(err).toContain("denied  connect vault");
});
