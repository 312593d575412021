import { AckPolicy, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { rawClient } from "./nats-gateway-lab.ts";
import { type NatsJob, type NatsProof, type NatsProofOptions, startProof } from "./nats-proof-world.ts";
import { followRecords, type RecordOf, type RecordStream } from "./record-stream.ts";

/** Two jobs with different rights: acme/shop attacks, acme/worker is attacked. */
export const attackPolicy = `version: 1
targets:
  events: { nats: { account: CI } }
who:
  shop: { gitlab: { project: acme/shop } }
  worker: { gitlab: { project: acme/worker } }
roles:
  status:
    for: [shop]
    allow:
      events: ["pub build.status.\${job.project_id}.*", "req svc.echo", "pub event.shop", "sub news.*", pull EVENTS.shop]
  work:
    for: [worker]
    allow:
      events: ["sub build.status.>", "sub svc.* workers", "req svc.echo", "pub event.worker", pull EVENTS.worker]
`;

/** A message as a user of the account saw it that came past the gateway. */
export interface Witnessed {
  readonly subject: string;
  readonly reply: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly text: string;
}

export interface AttackLab {
  readonly proof: NatsProof;
  readonly records: RecordStream;
  readonly admin: NatsConnection;
  /** Everything in the account but JetStream's own, once all of it has arrived. */
  witnessed(): Promise<readonly Witnessed[]>;
  /** A running job, and a client of it that says anything. */
  attacker(path?: string): Promise<Attacker>;
  /** A client that has said nothing yet. */
  raw(): ReturnType<typeof rawClient>;
  close(): Promise<void>;
}

export interface Attacker {
  readonly job: NatsJob;
  readonly session: string;
  readonly raw: Awaited<ReturnType<typeof rawClient>>;
  /** Says it and a PING; resolves with what was answered before the PONG or the end. */
  say(text: string): Promise<string>;
  /** Its denied operations, all of them, in order. */
  denied(): Promise<readonly RecordOf<"decision">["data"][]>;
}

/** An installation under attack, with an echo service and a stream of the account's own. */
export async function startAttackLab(options: Partial<NatsProofOptions> = {}): Promise<AttackLab> {
  const proof = await startProof({ policy: attackPolicy, projects: ["acme/shop", "acme/worker"], ...options });
  try {
    return await attackLab(proof);
  } catch (error) {
    await proof.close();
    throw error;
  }
}

async function attackLab(proof: NatsProof): Promise<AttackLab> {
  const { broker } = proof.world;
  if (broker === undefined) throw new TypeError("the broker runs in this process");
  const records = await followRecords({ broker });
  const first = await proof.startJob("acme/worker");
  await (await first.connect()).close(); // makes the account known to the server
  const admin = await proof.admin.connect("CI");
  const seen = watchAll(admin);
  await prepare(admin);
  const port = Number(new URL(proof.world.natsUrl).port);
  return {
    ...{ proof, records, admin },
    async witnessed() {
      await admin.flush();
      return seen;
    },
    raw: () => rawClient(port),
    async attacker(path = "acme/shop") {
      const job = await proof.startJob(path);
      const { password = "" } = await job.credential();
      const raw = await rawClient(port);
      await raw.enter(password);
      const session = await job.session();
      const say = speaking(raw);
      return {
        ...{ job, session, raw, say },
        async denied() {
          const { subject, until } = await fence(records, job, session);
          await until;
          return records
            .of("decision", session)
            .filter(({ data }) => data.operation !== `pub ${subject}`)
            .map(({ data }) => data);
        },
      };
    },
    async close() {
      await records.close();
      await admin.close();
      await proof.close();
    },
  };
}

function speaking(raw: Attacker["raw"]) {
  return async (text: string): Promise<string> => {
    const before = raw.heard().length;
    raw.say(`${text}PING\r\n`);
    for (;;) {
      const heard = raw.heard().slice(before);
      const end = heard.indexOf("PONG\r\n");
      if (end >= 0 || raw.closed()) return end >= 0 ? heard.slice(0, end) : heard;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
}

let fences = 0;

/** Something else that the job is denied: when its record is there, so are those before it. */
async function fence(records: RecordStream, job: NatsJob, session: string) {
  const subject = `fence.${++fences}`;
  const client = await job.connect();
  client.publish(subject);
  await client.flush();
  await client.close();
  const until = records.until(
    "decision",
    (record) => record.session === session && record.data.operation === `pub ${subject}`,
  );
  return { subject, until };
}

function watchAll(admin: NatsConnection): readonly Witnessed[] {
  const seen: Witnessed[] = [];
  admin.subscribe(">", {
    callback: (_, message) => {
      const { subject, reply = "" } = message;
      if (subject.startsWith("$JS.") || subject.startsWith("_INBOX.")) return;
      seen.push({ subject, reply, text: message.string(), headers: headersOf(message) });
    },
  });
  return seen;
}

function headersOf(message: { readonly headers?: { keys(): string[]; values(key: string): string[] } | undefined }) {
  try {
    const { headers } = message;
    return Object.fromEntries((headers?.keys() ?? []).map((key) => [key, headers?.values(key) ?? []]));
  } catch (error) {
    return { unreadable: [String(error)] };
  }
}

async function prepare(admin: NatsConnection): Promise<void> {
  admin.subscribe("svc.echo", { callback: (_, message) => void message.respond(`echo ${message.string()}`) });
  const manager = await jetstreamManager(admin);
  await manager.streams.add({ name: "EVENTS", subjects: ["event.>"] });
  for (const name of ["shop", "worker"]) {
    await manager.consumers.add("EVENTS", { durable_name: name, ack_policy: AckPolicy.Explicit });
  }
  await admin.flush();
}
