import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { WayleaveError } from "../core/errors.ts";
import { type Story, tellStory } from "../gateway/story.ts";
import { type JobLogReading, openedNeedle, type StoryFacts } from "../gateway/story-facts.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { connectOperator, type Operator } from "./operator.ts";
import { painter } from "./terminal.ts";
import { storyText } from "./verify-text.ts";

export const verify: CliCommand = {
  path: ["verify"],
  summary: "show a job's session hop by hop, and what does not fit together",
  details: [
    "Every hop is held against the others: the exchange, each decision, each gateway's own log, the mutual TLS between gateways, and the end.",
    "Exit status 3 when a hop is missing or contradicts another, with the two likeliest causes.",
  ],
  args: [{ spec: "<job>", doc: "a CI job id, a session id, or a trace id of one of its requests" }],
  options: [
    { spec: "--trace-log <file>", doc: "the job's own log, where the CI's API does not show it" },
    {
      spec: "--metrics <source>",
      doc: "Istio or Linkerd metrics: a file, or the URL of a proxy or of a Prometheus query",
    },
    { spec: "--wait <seconds>", doc: "how long to wait for hops that may still be on their way (default: 5)" },
    ...operatorOptions,
    jsonOption,
  ],
  examples: ["verify 7712", "verify ses_0123456789abcdef --json", "verify 7712 --trace-log trace.txt"],
  async run(io, input) {
    const name = input.args[0] ?? "";
    const waitMs = secondsOf(input.text("wait"));
    const given = { traceLog: input.text("traceLog"), metrics: input.text("metrics") };
    const operator = await connectOperator(io, input);
    try {
      const ask = async () => tell(await factsOf(operator, io, name, given), name);
      const { facts, story } = await settled(io, waitMs, ask);
      if (input.flag("json")) printJson(io, { session: facts.session, ...story, cut: facts.cut });
      else io.stdout.write(storyText(painter(io, io.stdout), facts, story));
      return story.verdict === "confirmed" ? 0 : 3;
    } finally {
      await operator.close();
    }
  },
};

interface Told {
  readonly facts: StoryFacts;
  readonly story: Story;
}

function tell(facts: StoryFacts, name: string): Told {
  return { facts, story: tellStory(facts, /^[0-9a-f]{32}$/.test(name) ? { trace: name } : {}) };
}

interface Given {
  readonly traceLog: string | undefined;
  readonly metrics: string | undefined;
}

/** What the broker knows, and what only this machine can read. */
async function factsOf(operator: Operator, io: CommandIo, name: string, given: Given): Promise<StoryFacts> {
  const facts = await operator.get<StoryFacts>(`/v1/verify/${encodeURIComponent(name)}`);
  const { traceLog, metrics } = given;
  return {
    ...facts,
    ...(traceLog === undefined ? {} : { jobLog: await searchFile(resolve(io.cwd, traceLog), facts) }),
    ...(metrics === undefined ? {} : { mesh: await readMesh(io, metrics) }),
  };
}

async function readMesh(io: CommandIo, source: string): Promise<NonNullable<StoryFacts["mesh"]>> {
  const [{ istioMtlsPairs }, { linkerdMtlsPairs }, text] = await Promise.all([
    import("../gateway/istio/mtls-series.ts"),
    import("../gateway/linkerd/mtls-series.ts"),
    readSource(io, source),
  ]);
  const now = io.now();
  return { source, pairs: [...istioMtlsPairs(text, now).pairs, ...linkerdMtlsPairs(text, now).pairs] };
}

async function readSource(io: CommandIo, source: string): Promise<string> {
  try {
    if (!/^https?:\/\//.test(source)) return await readFile(resolve(io.cwd, source), "utf8");
    const { request } = await import("undici");
    const response = await request(source, { signal: AbortSignal.timeout(10_000) });
    const text = await response.body.text();
    if (response.statusCode === 200) return text;
  } catch {
    // told below: the URL may hold a credential, and an error may quote it
  }
  throw new WayleaveError("invalid_request", "--metrics gives no metrics; name a file, or a URL that answers 200.");
}

/** After this nothing of a request is still on its way. */
const underWayMs = 15_000;

/** Gateways log when a request is over, and agents send now and then: what is missing of something recent is waited for. */
async function settled(io: CommandIo, waitMs: number, ask: () => Promise<Told>): Promise<Told> {
  const until = io.now() + waitMs;
  for (;;) {
    const told = await ask();
    const recent = told.facts.records.some((record) => told.facts.now - Date.parse(record.time) < underWayMs);
    if (told.story.verdict !== "incomplete" || !recent || io.now() >= until) return told;
    await io.pause(250);
  }
}

function secondsOf(text: string | undefined): number {
  const seconds = text === undefined ? 5 : Number(text);
  if (text?.trim() !== "" && seconds >= 0 && seconds <= 600) return seconds * 1000;
  throw new WayleaveError("invalid_request", `--wait ${JSON.stringify(text)} is no number of seconds up to 600.`);
}

async function searchFile(path: string, { session }: StoryFacts): Promise<JobLogReading> {
  const text = openedNeedle(session.id);
  let tail = "";
  try {
    for await (const chunk of createReadStream(path, "utf8")) {
      tail += chunk;
      if (tail.includes(text)) return { state: "found", detail: path };
      tail = tail.slice(-text.length);
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `--trace-log ${path} cannot be read (${code}). Correct the path.`, {
      cause,
    });
  }
  return { state: "absent", detail: path };
}
