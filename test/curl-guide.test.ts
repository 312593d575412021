import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startGitlabCi } from "../demo/story-gitlab.ts";
import { type DemoWorld, startWorld } from "../demo/world.ts";
import { operatorRecords } from "./operator.ts";

/** The guide, executed: its commands in order, its outputs compared, its actors acting. */
const guide = readFileSync(new URL("../docs/guides/curl.md", import.meta.url), "utf8");

type Part = { readonly kind: "sh" | "text"; readonly body: string } | { readonly kind: "gitlab" };

const parts: Part[] = [...guide.matchAll(/^```(sh|text)\n([\s\S]*?)^```$|^<!-- gitlab: the job succeeds -->$/gm)].map(
  (match) => (match[1] === "sh" || match[1] === "text" ? { kind: match[1], body: match[2] ?? "" } : { kind: "gitlab" }),
);

let world: DemoWorld;
let ci: Awaited<ReturnType<typeof startGitlabCi>>;
let job: Parameters<typeof ci.gitlab.runJob>[0];
let directory: string;
let token: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-curl-"));
  world = await startWorld({
    directory: join(directory, "world"),
    ci: async (brokerUrl, ca) => {
      ci = await startGitlabCi(brokerUrl, ca);
      return ci.part;
    },
  });
  const { gitlab, shop, change, dana } = ci;
  const options = { source: "merge_request_event", mergeRequest: change, user: dana, jobs: ["release"] } as const;
  const [first] = gitlab.startPipeline(shop, options).jobs;
  if (first === undefined) throw new TypeError("the pipeline has a job");
  job = first;
  gitlab.runJob(job);
  await gitlab.flush();
  token = await gitlab.idToken(job, { aud: world.config.issuer });
});

afterAll(async () => {
  await world?.close();
  await ci?.gitlab.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Runs one block in a shell that remembers the variables of the blocks before. */
async function run(commands: string): Promise<string> {
  const state = join(directory, "state");
  const edge = world.edgeUrl("billing.localhost");
  // curl resolves *.localhost by itself only from 7.77 on.
  writeFileSync(join(directory, ".curlrc"), `resolve = "billing.localhost:${new URL(edge).port}:127.0.0.1"\n`);
  const script = `cd '${directory}'
[ -f state ] && . ./state
${commands}
set | grep '^\\(TOKEN\\|RECORD\\|REFRESH\\)=' > '${state}' || true`;
  const { stdout, stderr } = await promisify(execFile)("sh", ["-c", script], {
    timeout: 30_000,
    env: {
      PATH: process.env.PATH ?? "",
      HOME: directory,
      CURL_HOME: directory,
      BROKER: world.config.issuer,
      EDGE: edge,
      CACERT: join(world.directory, "ca.pem"),
      WAYLEAVE_ID_TOKEN: token,
    },
  });
  expect(stderr).toBe("");
  return stdout;
}

/** The text block as a pattern: `…` stands for anything within a line. */
function pattern(text: string): RegExp {
  const escaped = text
    .trimEnd()
    .replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")
    .replaceAll("…", ".*");
  return new RegExp(`^${escaped}\\s*$`);
}

describe("docs/guides/curl.md", () => {
  test("has commands, outputs and the end of a job", () => {
    expect(parts.filter((part) => part.kind === "sh").length).toBeGreaterThan(5);
    expect(parts.filter((part) => part.kind === "gitlab")).toHaveLength(1);
  });

  test("does what it says, block by block", async () => {
    let output = "";
    for (const part of parts) {
      if (part.kind === "sh") output = await run(part.body);
      else if (part.kind === "text") expect(output).toMatch(pattern(part.body));
      else {
        ci.gitlab.succeedJob(job);
        await ci.gitlab.flush();
      }
    }
  });

  test("and its records share the session, and each decision a trace", async () => {
    const records = await operatorRecords(world, "limit=200");
    const decisions = records.filter((record) => record.kind === "decision");
    expect(decisions.map((record) => (record.kind === "decision" ? record.data.reason : ""))).toEqual([
      "session_ended",
      "condition_failed",
      "allowed",
    ]);
    const [opened] = records.filter((record) => record.kind === "session.opened");
    for (const record of decisions) {
      expect(record.session).toBe(opened?.session);
      expect(record.trace).toMatch(/^[0-9a-f]{32}$/);
    }
  });
});
