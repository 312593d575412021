import type { NatsStatus } from "../gateway/nats/status.ts";
import type { DoctorFacts, Finding, NatsFacts, NatsServerFacts } from "./doctor-facts.ts";

const now = Date.parse("2026-11-24T09:30:00Z");
const iso = (ms: number) => new Date(ms).toISOString();
const day = 86_400_000;
const natsServer = { address: "nats.internal:4222", tls: true, loopback: false, version: "2.15.1", letIn: [] };
const natsStatus: NatsStatus = {
  gateway: "nats-1",
  mode: "gateway",
  callout: { answering: true, since: iso(now - day), admitted: 3, refused: 1, dropped: 0 },
  system: { connected: true, since: iso(now - day) },
  servers: [{ id: "NA", name: "nats-a", version: "2.15.1", ahead_ms: -40 }],
  accounts: [{ account: "CI", targets: ["events"], records: "durable", known: true }],
};
/** A gateway and a server with which nothing is wrong. */
export const healthyNats: NatsFacts = {
  gateway: "nats-1",
  direct: false,
  listen: { address: "0.0.0.0:4222", tls: true, loopback: false },
  servers: [natsServer],
  status: natsStatus,
};

const unreached: NatsServerFacts = {
  address: "nats.internal:4222",
  tls: true,
  loopback: false,
  letIn: [],
  problem: "gives no answer",
};
const nats = (more: Partial<NatsFacts>): NatsFacts => ({ ...healthyNats, ...more });
const natsTold = (more: Partial<NatsStatus>): NatsFacts => nats({ status: { ...natsStatus, ...more } });
const natsAt = (more: Partial<NatsServerFacts>): NatsFacts => nats({ servers: [{ ...natsServer, ...more }] });
const natsClock = (ahead_ms: number): NatsFacts =>
  natsTold({ servers: [{ id: "NA", name: "nats-a", version: "2.15.1", ahead_ms }] });
const natsAccount = (more: Partial<NatsStatus["accounts"][number]>): NatsFacts =>
  natsTold({ accounts: [{ account: "CI", targets: ["events"], records: "durable", known: true, ...more }] });

/** One on this machine alone, without TLS. */
const local = { tls: false, loopback: true };
export const localNats = nats({
  listen: { address: "127.0.0.1:4222", ...local },
  servers: [{ ...natsServer, ...local }],
});

/** One whose servers could not be asked for accounts and time. */
export const unaskedNats = natsTold({
  servers: [{ id: "NA", name: "nats-a", version: "2.15.1" }],
  accounts: [{ account: "CI", targets: ["events"], records: "durable" }],
});

type Broken = readonly [check: string, why: string, level: Finding["level"], facts: DoctorFacts];

/** What each check of NATS gateways must find in an installation that is healthy otherwise. */
export function brokenNats(healthy: DoctorFacts): readonly Broken[] {
  return cases.map(([check, why, level, facts]) => [check, why, level, { ...healthy, nats: [facts] }]);
}

const cases: readonly (readonly [check: string, why: string, level: Finding["level"], facts: NatsFacts])[] = [
  ["nats_version", "a server with known holes", "fail", natsAt({ version: "2.12.6" })],
  ["nats_version", "a server of an unreadable version", "fail", natsAt({ version: "newest" })],
  ["nats_version", "a pre-release of the least version", "fail", natsAt({ version: "2.12.7-RC.1" })],
  ["nats_version", "a server that cannot be reached", "warn", nats({ servers: [unreached] })],
  ["nats_door", "a server that lets anybody in", "fail", natsAt({ letIn: ["without any credential"] })],
  [
    "nats_plain",
    "a gateway without TLS",
    "fail",
    nats({ listen: { address: "0.0.0.0:4222", tls: false, loopback: false } }),
  ],
  ["nats_plain", "a server without TLS", "warn", natsAt({ tls: false })],
  ["nats_direct", "jobs at the server itself", "warn", nats({ direct: true })],
  [
    "nats_callout",
    "a callout that nobody answers",
    "fail",
    natsTold({ callout: { ...natsStatus.callout, answering: false, why: "nats-server was never reached" } }),
  ],
  ["nats_system", "no system account", "warn", natsTold({ system: { connected: false, since: iso(now - 1000) } })],
  ["nats_clock", "a server's clock seconds ahead", "warn", natsClock(5_000)],
  ["nats_clock", "a server's clock a minute behind", "fail", natsClock(-60_000)],
  ["nats_account", "an account that a server does not know", "fail", natsAccount({ known: false })],
  ["nats_records", "records that may come late", "note", natsAccount({ records: "fast" })],
];
