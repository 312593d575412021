import type { Decision } from "../../core/decision.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { AuditEvent, RecordKind } from "../../core/record.ts";
import type { NatsOperation } from "../../core/target.ts";
import { coversTokens } from "../../policy/match-nats.ts";
import { reservedToken } from "../../policy/reserved-subject.ts";
import type {
  Admission,
  AdmissionRequest,
  NatsAuthority,
  SessionChange,
  UpstreamGreeting,
  UpstreamPass,
} from "./ports.ts";

/** A job that the fake authority knows by its password. */
export interface FakeJob {
  readonly password: string;
  /** `pub a.*`, `sub b.> queue`, `req c`, `pull STREAM.CONSUMER`. */
  allow: readonly string[];
  readonly records?: "durable" | "fast";
  readonly deliveries?: "counted" | "full";
  mode?: "enforce" | "observe";
  /** Every allow is conditional: it is asked again for each message. */
  conditional?: boolean;
  /** Uses that every allow counts against. */
  limit?: number;
}

/** An authority whose answers, delays and failures a test chooses. */
export class FakeAuthority implements NatsAuthority {
  /** Everything that was recorded, in order. */
  readonly events: AuditEvent[] = [];
  readonly admitted: AdmissionRequest[] = [];
  readonly attached: UpstreamGreeting[] = [];
  /** How often policy was asked. */
  decided = 0;
  counted = 0;
  pass: (admission: Admission, upstream: UpstreamGreeting) => UpstreamPass = () => ({
    ticket: "ticket",
    proxySignature: "",
  });
  appendFails = false;
  /** Whatever is attached waits for it. */
  attaching: Promise<void> = Promise.resolve();
  admitting: Promise<void> = Promise.resolve();
  settling: Promise<void> = Promise.resolve();
  #stalled: PromiseWithResolvers<void> | undefined;
  #epoch = 1;
  #number = 0;
  readonly #ended = new Map<string, number>();
  readonly #listeners = new Set<(change: SessionChange) => void>();
  readonly #jobs: ReadonlyMap<string, FakeJob>;
  readonly hardEnd = Date.now() + 3_600_000;
  state: "active" | "suspended" = "active";

  /** @param jobs By the characters of their session, sixteen of them. */
  constructor(jobs: Readonly<Record<string, FakeJob>>) {
    this.#jobs = new Map(Object.entries(jobs).map(([name, job]) => [`ses_${name.padEnd(16, "0")}`, job]));
  }

  /** Data of every record of the kind. */
  of<K extends RecordKind>(kind: K): readonly Extract<AuditEvent, { readonly kind: K }>["data"][] {
    return this.events.filter((event) => event.kind === kind).map(({ data }) => data as never);
  }

  /** Rows of all messages, in order. */
  rows(): readonly string[] {
    return this.of("nats.published").flatMap(({ messages }) => messages);
  }

  /** Appends wait until `resume`. */
  stall(): void {
    this.#stalled = Promise.withResolvers();
  }

  resume(): void {
    this.#stalled?.resolve();
    this.#stalled = undefined;
  }

  end(name: string, why = "job finished"): void {
    const session = sessionOf(name);
    this.#ended.set(session, 0);
    this.#epoch++;
    this.tell({ kind: "ended", session, why });
  }

  /** Hard end of a session, ms since the epoch. */
  setHardEnd(name: string, at: number): void {
    this.#ended.set(sessionOf(name), at);
  }

  /** Says that decisions made so far may no longer hold. */
  changed(name: string): void {
    this.#epoch++;
    this.tell({ kind: "changed", session: sessionOf(name) });
  }

  tell(change: SessionChange): void {
    for (const listener of [...this.#listeners]) listener(change);
  }

  async admit(request: AdmissionRequest): Promise<Admission> {
    this.admitted.push(request);
    await this.admitting;
    for (const [session, job] of this.#jobs) {
      if (job.password !== request.presented.secret) continue;
      if (this.hardEndAt(session) === 0) throw new WayleaveError("session_ended", "the session ended: job finished");
      return this.#admission(session, job);
    }
    throw new WayleaveError("credential_invalid", "the password is not one of wayleave nats env");
  }

  async attach(admission: Admission, upstream: UpstreamGreeting): Promise<UpstreamPass> {
    this.attached.push(upstream);
    await this.attaching;
    return this.pass(admission, upstream);
  }

  decide(admission: Admission, { verb, subject, queue }: NatsOperation): Decision {
    this.decided++;
    const job = this.#jobs.get(admission.session);
    if (job === undefined) return deny("session_unknown");
    if (this.state === "suspended") return deny("session_suspended");
    if (this.hardEndAt(admission.session) === 0) return deny("session_ended");
    const mode = job.mode ?? "enforce";
    const tokens = subject.split(".");
    const any = verb === "pull" && subject === "*.*";
    if (!any && verb !== "pull" && reservedToken(tokens[0] ?? "") !== undefined) {
      return { ...deny("subject_refused"), mode };
    }
    const covers = job.allow.some((text) => {
      const [allowed = "", pattern = "", group] = text.split(" ");
      if (allowed !== verb || (group !== undefined && group !== queue)) return false;
      return any || coversTokens(pattern.split("."), tokens);
    });
    if (!covers) return { ...deny("no_role"), mode };
    if (job.limit !== undefined && this.counted >= job.limit) return { ...deny("limit_exceeded"), mode };
    return {
      ...{ effect: "allow", reason: "allowed", mode, rule: "role", policyVersion: `p${this.#epoch}`, facts: [] },
      unconditional: job.conditional !== true,
      ...(job.limit === undefined ? {} : { limit: { key: "k", windowMs: 60_000, max: job.limit } }),
    };
  }

  count(): void {
    this.counted++;
  }

  epoch(): number {
    return this.#epoch;
  }

  hardEndAt(session: string): number {
    if (this.state !== "active") return 0;
    return this.#ended.get(session) ?? this.hardEnd;
  }

  async append(events: readonly AuditEvent[]): Promise<void> {
    await this.#stalled?.promise;
    if (this.appendFails) throw new WayleaveError("journal_unavailable", "the disk is full");
    this.events.push(...events);
  }

  note(event: AuditEvent): void {
    if (this.appendFails) throw new WayleaveError("journal_unavailable", "the disk is full");
    this.events.push(event);
  }

  settled(): Promise<void> {
    return this.settling;
  }

  watch(listener: (change: SessionChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #admission(session: string, job: FakeJob): Admission {
    const characters = session.slice(4);
    this.#number++;
    return {
      connection: `nc_${String(this.#number).padStart(16, "0")}`,
      session,
      target: "events",
      account: "CI",
      inbox: `_INBOX_${characters}`,
      identity: `gitlab:gitlab.example:1042:job:${characters}`,
      records: job.records ?? "durable",
      deliveries: job.deliveries ?? "counted",
      hardEndAt: this.hardEnd,
      record: { session },
    };
  }
}

const sessionOf = (name: string) => `ses_${name.padEnd(16, "0")}`;

function deny(reason: Decision["reason"]): Decision {
  return { effect: "deny", reason, mode: "enforce", policyVersion: "p", facts: [], unconditional: true };
}
