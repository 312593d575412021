import type { GatewayLogRouteDeps } from "../api/gateway-log.ts";
import type { VerifyRouteDeps } from "../api/verify.ts";
import { gitlabJobLog } from "../ci/gitlab/job-log.ts";
import { gitlab } from "../ci/gitlab/provider.ts";
import type { Config, GatewayConfig, IssuerConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { JobIdentity } from "../core/identity.ts";
import { type AuditRecord, type Recorder, type RecordJob, recordJob } from "../core/record.ts";
import { readEnvoyLine } from "../gateway/envoy/access-log.ts";
import { accessLogMethods } from "../gateway/envoy/access-log-service.ts";
import type { EvidenceGateway, LineReader } from "../gateway/evidence.ts";
import { createEvidenceIntake, type EvidenceIntake } from "../gateway/evidence-intake.ts";
import { createGatewayGuard, type GuardedGateway, secretHash } from "../gateway/gateway-guard.ts";
import { readNginxLine } from "../gateway/nginx/access-log.ts";
import type { JobLogReading } from "../gateway/story-facts.ts";
import type { GrpcMethods } from "../grpc/method.ts";
import { trustingFetch } from "../identity/trusting-fetch.ts";
import type { SessionTable } from "../session/table.ts";
import { storyFacts } from "./story.ts";
import type { RecordReader } from "./surface.ts";

/** The gateways' own logs on their way in, and the stories told from them. */
export interface EvidenceServices {
  readonly gatewayLog: GatewayLogRouteDeps;
  /** The access log service, for the gRPC listener. */
  readonly accessLog: GrpcMethods;
  readonly verify: VerifyRouteDeps;
  /** When each gateway was heard last, and how its clock stands. */
  readonly heard: EvidenceIntake["heard"];
}

export function connectEvidence(deps: {
  readonly config: Config;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly records: RecordReader;
  readonly table: SessionTable;
  /** When a gateway asked or followed last, ms since the epoch. */
  aliveAt(gateway: string): number | undefined;
  onRefused(detail: string): void;
}): EvidenceServices {
  const { config, clock, recorder, records, table } = deps;
  const intake = createEvidenceIntake({
    clock,
    recorder,
    job: (session) => jobOf(table, records, session),
    recorded: (gateway, sinceMs, limit) => records.query({ kind: "gateway.request", gateway, sinceMs, limit }),
  });
  const guard = createGatewayGuard(config.gateways.flatMap(evidenceGateway));
  const onUnauthenticated = deps.onRefused;
  const jobLog = jobLogReader(config.issuers);
  const readers: Partial<Record<EvidenceGateway["hop"], LineReader>> = { nginx: readNginxLine, envoy: readEnvoyLine };
  return {
    heard: intake.heard,
    gatewayLog: {
      gateway(name, secret) {
        const gateway = guard(name, secret);
        const read = gateway === undefined ? undefined : readers[gateway.hop];
        if (gateway === undefined || read === undefined) return undefined;
        return (piece) => intake.takeFile(gateway, piece, read);
      },
      onUnauthenticated,
    },
    accessLog: accessLogMethods({
      gateway: (name, secret) => {
        const gateway = guard(name, secret);
        return gateway?.hop === "envoy" ? gateway : undefined;
      },
      take: intake.takeEntries,
      onUnauthenticated,
    }),
    verify: {
      facts: (name) =>
        storyFacts(
          {
            config,
            clock,
            table,
            records,
            heardAt: (gateway) => intake.heard.get(gateway)?.at,
            aliveAt: deps.aliveAt,
            jobLog,
          },
          name,
        ),
    },
  };
}

/** NATS gateways and the proxy write their records themselves: they have no log to read. */
function evidenceGateway({
  name,
  kind,
  targets,
  secret,
}: GatewayConfig): readonly (EvidenceGateway & GuardedGateway)[] {
  return kind === "nats" || kind === "proxy" || secret === ""
    ? []
    : [{ name, hop: kind, targets, secretHashes: [secretHash(secret)] }];
}

/** From memory while the session is known there, else from its record: logs may come late. */
async function jobOf(table: SessionTable, records: RecordReader, session: string): Promise<RecordJob | undefined> {
  const live = table.find(session);
  if (live !== undefined) return recordJob(live.identity);
  const [opened] = await records.query({ session, kind: "session.opened", limit: 1 });
  return opened?.job ?? openedJob(opened);
}

function openedJob(record: AuditRecord | undefined): RecordJob | undefined {
  return record?.kind === "session.opened" ? recordJob(record.data.identity) : undefined;
}

const jobLogTimeoutMs = 10_000;

/** Reads the job's own log where the issuer has an API that can. */
function jobLogReader(issuers: readonly IssuerConfig[]) {
  const readers = new Map(issuers.map((issuer) => [issuer.name, readerOf(issuer)]));
  return async (identity: JobIdentity, text: string): Promise<JobLogReading> => {
    const read = readers.get(identity.issuer) ?? "its issuer is no longer configured";
    if (typeof read === "string") return { state: "unread", detail: read };
    const found = await read(identity, text);
    if ("unread" in found) return { state: "unread", detail: found.unread };
    return { state: found.found ? "found" : "absent", detail: `the GitLab trace of job ${identity.job.id}` };
  };
}

function readerOf({ name, type, url, api, ca }: IssuerConfig): ReturnType<typeof gitlabJobLog> | string {
  if (type !== "gitlab") return "only GitLab's job logs can be read";
  if (api === undefined) return `issuer ${name} has no API credential`;
  return gitlabJobLog({
    baseUrl: api.url ?? gitlab.api?.url(url ?? gitlab.defaultIssuerUrl ?? "") ?? "",
    token: api.token,
    fetch: trustingFetch(ca === undefined ? {} : { caPem: ca }),
    timeoutMs: jobLogTimeoutMs,
  });
}
