import { WayleaveError } from "../core/errors.ts";
import type { EventChange, EventRecord } from "../core/event-record.ts";
import type { JobIdentity } from "../core/identity.ts";
import { encodeNumber } from "../core/ids.ts";
import type { FindOutcome, PipelineStart, PipelineStarter, StartOutcome } from "../core/pipeline-start.ts";
import type { SessionView } from "../core/session.ts";
import type { CompiledEvent } from "../policy/policy.ts";
import { CauseTable } from "./cause-table.ts";
import { createEventEngine, type EventEngine } from "./engine.ts";
import { originHeaders } from "./origin.ts";
import type { EventDeps, EventMessage, EventRecorder, KnownSession } from "./ports.ts";

export const startTime = Date.parse("2026-11-24T09:30:00Z");
export const sessionId = "ses_0123456789abcdef";

/** What the CI does with one request to start. */
export type CiMood =
  | "ok"
  /** It makes the pipeline, and its answer is lost. */
  | "answer_lost"
  /** It answers nothing now, and makes the pipeline a minute later. */
  | "late"
  /** It never gets the request. */
  | "request_lost"
  | "limited"
  | "refused";

/** A pipeline of the fake CI. */
export interface FakePipeline extends PipelineStart {
  readonly id: string;
  readonly createdAt: number;
}

/** A CI in memory, as unreliable as it is told to be. Without orders it works. */
export class FakeCi implements PipelineStarter {
  readonly source = "trigger";
  readonly made: FakePipeline[] = [];
  /** Moods of the next requests to start. */
  moods: CiMood[] = [];
  /** Look-ups find no answer while true. */
  blind = false;
  /** What `find` says where it must not look at all. */
  findFinal: string | undefined;
  requests = 0;
  looks = 0;
  readonly #world: FakeWorld;

  constructor(world: FakeWorld) {
    this.#world = world;
  }

  /** Pipelines that exist by now. */
  get pipelines(): readonly FakePipeline[] {
    return this.made.filter(({ createdAt }) => createdAt <= this.#world.now);
  }

  async start(start: PipelineStart): Promise<StartOutcome> {
    this.#world.step();
    this.requests += 1;
    const mood = this.moods.shift() ?? "ok";
    if (mood === "limited") return { kind: "later", afterMs: 60_000, detail: "It limits our requests (429)." };
    if (mood === "refused") return { kind: "refused", detail: "It refused the start (400: Reference not found)." };
    if (mood === "request_lost") return { kind: "unknown", detail: "It gave no whole answer." };
    const createdAt = this.#world.now + (mood === "late" ? 60_000 : 0);
    const pipeline = { ...start, id: String(5101 + this.made.length), createdAt };
    this.made.push(pipeline);
    this.#world.step();
    if (mood !== "ok") return { kind: "unknown", detail: "It gave no whole answer." };
    return { kind: "started", pipeline: { projectId: "2000", pipelineId: pipeline.id } };
  }

  async find({ cause }: { readonly cause: string }): Promise<FindOutcome> {
    this.#world.step();
    this.looks += 1;
    if (this.findFinal !== undefined) return { kind: "unknown", final: true, detail: this.findFinal };
    if (this.blind) return { kind: "unknown", detail: "It gave no whole answer." };
    const found = this.pipelines.find((pipeline) => pipeline.cause === cause);
    if (found === undefined) return { kind: "none" };
    return { kind: "found", pipeline: { projectId: "2000", pipelineId: found.id } };
  }
}

/** A crash of the process: what comes after it never happens. */
class Crash extends Error {}

/**
 * Clock, journal, sessions and CI of a broker, and an engine that can be killed at any step: `step` counts down, and at zero
 * the process is gone, with what was durable kept.
 */
export class FakeWorld {
  now = startTime;
  readonly records: EventRecord[] = [];
  readonly faults: unknown[] = [];
  readonly sessions = new Map<string, KnownSession>();
  rules: readonly CompiledEvent[] = [deployImage()];
  readonly ci: FakeCi;
  /** The next so many appends are refused, as by a full disk. */
  failAppends = 0;
  hasCredential = true;
  table = new CauseTable();
  engine: EventEngine;
  #stepsLeft = Number.POSITIVE_INFINITY;
  #randoms = 0;

  constructor() {
    this.ci = new FakeCi(this);
    this.addSession();
    this.engine = createEventEngine(this.deps, this.table);
  }

  get deps(): EventDeps {
    return {
      now: () => this.now,
      random: (bytes) => new Uint8Array(bytes).fill(++this.#randoms),
      recorder: this.recorder,
      identityHeader: headerOf,
      policyVersion: () => "41c0aa",
      rule: (name) => this.rules.find((rule) => rule.name === name),
      session: async (id) => this.sessions.get(id),
      starter: () => (this.hasCredential ? this.ci : undefined),
      onFault: (error) => void this.faults.push(error),
    };
  }

  readonly recorder: EventRecorder = {
    append: async (events) => {
      this.step();
      if (this.failAppends > 0) {
        this.failAppends -= 1;
        throw new WayleaveError("journal_unavailable", "The disk is full.");
      }
      const written = events.map((event) => this.#write(event));
      this.step();
      return written;
    },
  };

  /** The process dies after so many more steps. */
  crashAfter(steps: number): void {
    this.#stepsLeft = steps;
  }

  get crashed(): boolean {
    return this.#stepsLeft <= 0;
  }

  step(): void {
    this.#stepsLeft -= 1;
    if (this.crashed) throw new Crash("the process is gone");
  }

  /** A new process over what the journal has. */
  restart(): void {
    this.#stepsLeft = Number.POSITIVE_INFINITY;
    this.table = new CauseTable();
    for (const record of this.records) this.table.apply(record);
    this.engine = createEventEngine(this.deps, this.table);
  }

  kinds(): readonly string[] {
    return this.records.map(({ kind }) => kind);
  }

  addSession(more: Partial<SessionView> = {}, identityMore: Partial<JobIdentity> = {}): void {
    const identity = jobIdentity(identityMore);
    const base = { id: sessionId, identity, state: "active" as const, openedAt: startTime - 60_000 };
    const view = { ...base, hardEndAt: startTime + 3_600_000, ...more };
    this.sessions.set(view.id, { view, facts: {} });
  }

  #write(event: EventChange): EventRecord {
    const id = `rec_test${encodeNumber(this.records.length + 1, 8)}`;
    const record = { ...event, id, time: new Date(this.now).toISOString() };
    this.records.push(record);
    return record;
  }
}

export function jobIdentity(more: Partial<JobIdentity> = {}): JobIdentity {
  return {
    issuer: "gitlab",
    issuerType: "gitlab",
    kind: "job",
    project: { id: "1042", path: "acme/shop" },
    pipelineId: "5100",
    job: { id: "7712" },
    ref: "main",
    fork: "no",
    attributes: { project: ["acme/shop"], source: "push" },
    variables: {},
    ...more,
  };
}

/** The event of most tests: jobs of acme/shop start acme/deploy with what they pushed. */
export function deployImage(more: Partial<CompiledEvent> = {}): CompiledEvent {
  const depth = more.depth ?? 3;
  return {
    name: "deploy-image",
    on: { target: "events", account: "CI", stream: "IMAGES", subject: "image.pushed.*" },
    start: { type: "gitlab", issuer: "gitlab", project: "acme/deploy", ref: "main" },
    variables: [
      { name: "IMAGE", pointer: "/image/name" },
      { name: "TAG", pointer: "/tag" },
    ],
    limit: { max: 10, windowMs: 60_000 },
    depth,
    mayCause(identity) {
      if (identity.project.path !== "acme/shop" && identity.project.path !== "acme/deploy")
        return { allowed: false, reason: "not_for", detail: "it is for project: acme/shop" };
      const next = (identity.cause?.depth ?? 0) + 1;
      if (next <= depth) return { allowed: true };
      return { allowed: false, reason: "too_deep", detail: `it would be start ${next} of a chain` };
    },
    ...more,
  };
}

export interface MessageOptions extends Partial<EventMessage> {
  readonly json?: unknown;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
}

/** As the gateway writes it. */
export function headerOf({ id, identity }: Pick<SessionView, "id" | "identity">): string {
  const { issuer, project, job } = identity;
  return `${issuer}/${project.id}/${job.id} ${project.path} ${id}`;
}

export const identityHeader = headerOf({ id: sessionId, identity: jobIdentity() });

/** A message as the gateway lets it into the stream. */
export function message(options: MessageOptions = {}): EventMessage {
  const { json = { image: { name: "registry.acme.example/shop" }, tag: "1.4.2" }, headers, ...rest } = options;
  const sent: Readonly<Record<string, readonly string[]>> = headers ?? {
    [originHeaders.job]: [identityHeader],
    [originHeaders.message]: ["nc_0123456789abcdef.1"],
  };
  return {
    stream: "IMAGES",
    sequence: 17,
    storedAt: startTime,
    subject: "image.pushed.shop",
    payload: new TextEncoder().encode(typeof json === "string" ? json : JSON.stringify(json)),
    deliveries: 1,
    header: (name) =>
      Object.entries(sent).flatMap(([key, values]) => (key.toLowerCase() === name.toLowerCase() ? values : [])),
    ...rest,
  };
}
