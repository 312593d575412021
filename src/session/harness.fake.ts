import { WayleaveError } from "../core/errors.ts";
import { noFacts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import { encodeNumber } from "../core/ids.ts";
import type { AuditEvent, AuditRecord, Recorder } from "../core/record.ts";
import { createExchange, type ExchangeRequest } from "./exchange.ts";
import { createFactReader } from "./facts.ts";
import { createIssuanceCaps, type IssuanceCapsOptions } from "./issuance-caps.ts";
import { createLeases } from "./lease.ts";
import { createLifecycle } from "./lifecycle.ts";
import { defaultTimings, type IssuerAccess, type PolicyAccess, type VerifiedSubject } from "./ports.ts";
import { createRefresh } from "./refresh.ts";
import { createSweep } from "./sweep.ts";
import { SessionTable } from "./table.ts";

/** A wall and monotonic clock that moves only when told. */
class ManualClock {
  #now = Date.parse("2026-11-24T09:30:00Z");
  now = (): number => this.#now;
  monotonic = (): number => this.#now - 1_000_000;
  advance(ms: number): void {
    this.#now += ms;
  }
}

/** A recorder in memory; `fail` makes it refuse like a full disk. */
class MemoryRecorder implements Recorder {
  readonly records: AuditRecord[] = [];
  fail = false;
  readonly #clock: ManualClock;
  constructor(clock: ManualClock) {
    this.#clock = clock;
  }
  async append(events: readonly AuditEvent[]): Promise<readonly AuditRecord[]> {
    await Promise.resolve();
    if (this.fail) throw new WayleaveError("journal_unavailable", "The disk is full.");
    return events.map((event) => this.#write(event));
  }
  note(event: AuditEvent): string {
    if (this.fail) throw new WayleaveError("journal_unavailable", "The disk is full.");
    return this.#write(event).id;
  }
  async settled(): Promise<void> {}
  #write(event: AuditEvent): AuditRecord {
    const seq = this.records.length + 1;
    const time = new Date(this.#clock.now()).toISOString();
    const record = { ...event, v: 1, id: `rec_test${encodeNumber(seq, 8)}`, seq, time } as AuditRecord;
    this.records.push(record);
    return record;
  }
  kinds(): readonly string[] {
    return this.records.map((record) => record.kind);
  }
}

export function identity(jobId = "7712", more: Partial<JobIdentity> = {}): JobIdentity {
  return {
    issuer: "gitlab",
    issuerType: "gitlab",
    kind: "job",
    project: { id: "1042", path: "acme/shop" },
    pipelineId: "5101",
    job: { id: jobId },
    ref: "main",
    refType: "branch",
    fork: "no",
    attributes: { project: ["acme/shop"], project_id: ["1042"], ref: "main" },
    variables: { "job.project_id": "1042" },
    ...more,
  };
}

/** Sessions wired to fakes. Subject tokens are `token:<job>:<n>`; policy grants two roles to everybody. */
export function harness(
  options: {
    api?: IssuerAccess["api"];
    claimFacts?: IssuerAccess["claimFacts"];
    renewable?: boolean;
    facts?: readonly string[];
    caps?: IssuanceCapsOptions;
  } = {},
) {
  const clock = new ManualClock();
  const recorder = new MemoryRecorder(clock);
  const table = new SessionTable(clock.monotonic);
  const timings = defaultTimings;
  const issuerAccess: IssuerAccess = {
    renewable: options.renewable ?? false,
    maxTokenLifeMs: 3_600_000,
    ...(options.api === undefined ? {} : { api: options.api }),
    ...(options.claimFacts === undefined ? {} : { claimFacts: options.claimFacts }),
  };
  const issuer = () => issuerAccess;
  let policy: PolicyAccess = {
    inForce: "p1",
    versionFor: () => "p1",
    pins: {},
    rolesFor: () => [
      { id: "read", targets: ["billing"] },
      { id: "release", targets: ["billing", "events"], ttlSeconds: 60 },
    ],
    deniesFor: () => [],
    factsFor: () => options.facts ?? [],
  };
  let counter = 0;
  const random = (bytes: number): Uint8Array => {
    counter++;
    return Uint8Array.from({ length: bytes }, (_, at) => (counter * 31 + at * 7) & 255);
  };
  const lifecycle = createLifecycle({ table, recorder, clock, issuer });
  const factReader = createFactReader({ table, lifecycle, clock, timings, issuer, policy: () => policy });
  const identities = new Map<string, JobIdentity>();
  const spellings = new Map<string, string>();
  const expiries = new Map<string, number>();
  const issuing = {
    timings,
    random,
    mint: async (input: { jti: string }) => ({ token: `at_${input.jti}`, kid: "kid-1" }),
    fingerprint: (token: string) => `fp_${token.length}`,
    policy: () => policy,
    longestLifeMs: (targets: readonly string[]) => (targets.includes("mesh") ? 20_000 : Number.POSITIVE_INFINITY),
    caps: createIssuanceCaps(clock, options.caps ?? {}),
    needsProof: (target: string) => target === "vaulted",
    refreshToken: (id: string, generation: number) => `wlr_${id}_${generation}`,
  };
  const verify = async (token: string): Promise<VerifiedSubject> => {
    const [kind, job = ""] = token.split(":");
    if (kind !== "token") throw new WayleaveError("subject_token_invalid", "Not a token.");
    return {
      identity: identities.get(token) ?? identity(job),
      kid: "k",
      replayKey: `replay:${spellings.get(token) ?? token}`,
      issuedAt: clock.now(),
      expiresAt: expiries.get(token) ?? clock.now() + 3_600_000,
    };
  };
  const exchange = createExchange({
    causeOf: async () => undefined,
    ...issuing,
    table,
    lifecycle,
    clock,
    verify,
    issuer,
    readFacts: factReader.read,
  });
  const ask = (subjectToken: string, more: Partial<ExchangeRequest> = {}) =>
    exchange({
      subjectToken,
      narrowing: {},
      jkt: undefined,
      idempotencyKey: undefined,
      from: "10.0.0.1",
      trace: undefined,
      ...more,
    });
  return {
    clock,
    recorder,
    table,
    lifecycle,
    facts: factReader,
    leases: createLeases({ lifecycle, clock, timings }),
    sweep: createSweep({ table, lifecycle, clock, timings, policy: () => policy }),
    refresh: createRefresh({ ...issuing, table, lifecycle, clock }),
    exchange: ask,
    connect: exchange.connect,
    setPolicy: (next: Partial<PolicyAccess>) => {
      policy = { ...policy, ...next };
    },
    tokenFor: (token: string, who: JobIdentity) => identities.set(token, who),
    /** `other` verifies as the same token: another spelling of its signature. */
    sameToken: (token: string, other: string) => spellings.set(other, token),
    expireAt: (token: string, at: number) => expiries.set(token, at),
    /** Everything recorded, folded into a new table: what a restart would know. */
    restart: () => {
      const again = new SessionTable(clock.monotonic);
      for (const record of recorder.records) again.apply(record);
      return again;
    },
    session: (id: string) => {
      const found = table.find(id);
      if (found === undefined) throw new TypeError(`no session ${id}`);
      return found;
    },
    noFacts,
  };
}
