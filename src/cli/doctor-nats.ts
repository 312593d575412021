import { isServerTaken, leastServerVersion } from "../gateway/nats/server-version.ts";
import type { NatsStatus } from "../gateway/nats/status.ts";
import { type Check, type DoctorFacts, type Finding, fail, type NatsFacts, note, warn } from "./doctor-facts.ts";

const inConfiguration = "a gateway of kind nats in the configuration";
const inBroker = "a running broker with a gateway of kind nats";
const atServers = "a running broker that is connected to its nats-servers";
const atDoor = "a nats-server of the configuration that can be reached from here";

/** Checks of NATS gateways and the servers behind them. */
export const natsChecks: readonly Check[] = [
  {
    name: "nats_version",
    looks: `that each nats-server can be reached and is ${leastServerVersion} or newer`,
    needs: inConfiguration,
    run: ({ nats }) => nats?.flatMap(serverVersions),
  },
  {
    name: "nats_door",
    looks: "connections to each nats-server itself, without a ticket: it must refuse them",
    needs: atDoor,
    run: ({ nats = [] }) => {
      const reached = nats.filter(({ servers }) => servers.some(({ version }) => version !== undefined));
      return reached.length === 0 ? undefined : reached.flatMap(openDoors);
    },
  },
  {
    name: "nats_plain",
    looks: "connections beyond this machine without TLS, of jobs to the gateway and of the gateway to nats-server",
    needs: inConfiguration,
    run: ({ nats }) => nats?.flatMap(plainSockets),
  },
  {
    name: "nats_direct",
    looks: "gateways that let jobs connect to nats-server themselves: authentication without message audit",
    needs: inConfiguration,
    run: ({ nats }) => nats?.flatMap(directMode),
  },
  {
    name: "nats_callout",
    looks: "that the broker answers nats-server's questions who may connect",
    needs: inBroker,
    run: ofStatus(calloutAnswers),
  },
  {
    name: "nats_system",
    looks:
      "that the broker is connected to the system account: it closes connections there and hears the servers' totals",
    needs: inBroker,
    run: ofStatus(systemConnected),
  },
  {
    name: "nats_clock",
    looks: "each nats-server's clock against the broker's",
    needs: atServers,
    run: ofStatus(serverClocks, isConnected),
  },
  {
    name: "nats_account",
    looks: "that every account which policy names is known to the servers",
    needs: atServers,
    run: ofStatus(missingAccounts, isConnected),
  },
  {
    name: "nats_records",
    looks: "accounts whose messages are recorded behind (records: fast)",
    needs: inBroker,
    run: ofStatus(fastRecords),
  },
];

/** What the servers themselves say is known only then. */
function isConnected({ system }: NatsStatus): boolean {
  return system.connected;
}

/** Of every gateway that the broker told of, or of those that can be looked at; undefined where there is none. */
function ofStatus(
  look: (status: NatsStatus) => readonly Finding[],
  canLook: (status: NatsStatus) => boolean = () => true,
): Check["run"] {
  return ({ nats }: DoctorFacts) => {
    const told = (nats ?? []).flatMap(({ status }) => status ?? []).filter(canLook);
    return told.length === 0 ? undefined : told.flatMap(look);
  };
}

function serverVersions({ gateway, servers }: NatsFacts): readonly Finding[] {
  return servers.flatMap(({ address, version, problem }) => {
    const server = `nats-server ${address} behind ${gateway}`;
    if (version === undefined || problem !== undefined) {
      const fix = "correct `servers` and server_ca_file, or run doctor where it can be reached";
      return [warn(`${server} ${problem ?? "gives no answer"}`, fix)];
    }
    if (isServerTaken(version)) return [];
    const fix = `run ${leastServerVersion} or newer: older ones let clients forge identities or skip authentication`;
    return [fail(`${server} is ${version}`, fix)];
  });
}

function openDoors({ gateway, servers, direct }: NatsFacts): readonly Finding[] {
  const fix = direct
    ? "give every user an authentication: remove no_auth_user and open accounts"
    : "include what `wayleave render nats` writes, and remove no_auth_user and other users of these accounts";
  return servers.flatMap(({ address, letIn }) =>
    letIn.map((client) => fail(`nats-server ${address} behind ${gateway} lets in a client ${client}`, fix)),
  );
}

function plainSockets({ gateway, direct, listen, servers }: NatsFacts): readonly Finding[] {
  const found: Finding[] = [];
  if (!direct && !listen.tls && !listen.loopback) {
    const says = `${gateway} listens on ${listen.address} without TLS: passwords and messages can be read on the way`;
    found.push(fail(says, "set `tls`, or listen on 127.0.0.1"));
  }
  const plain = servers.filter(({ tls, loopback }) => !tls && !loopback).map(({ address }) => address);
  if (plain.length > 0) {
    const says = `${gateway} reaches nats-server ${plain.join(", ")} without TLS: messages can be read and changed on the way`;
    found.push(warn(says, "serve TLS there, and write tls:// in `servers`"));
  }
  return found;
}

function directMode({ gateway, direct }: NatsFacts): readonly Finding[] {
  if (!direct) return [];
  const says = `${gateway} is direct: jobs are authenticated, and none of their messages has a record`;
  return [warn(says, "remove `direct: true`, so that messages pass the gateway")];
}

function calloutAnswers({ gateway, callout }: NatsStatus): readonly Finding[] {
  if (callout.answering) return [];
  const says = `${gateway}: nobody can connect since ${callout.since}: ${callout.why ?? "the callout is not answered"}`;
  return [fail(says, "start nats-server, or load what `wayleave render nats` writes: it trusts the broker's keys")];
}

function systemConnected({ gateway, system }: NatsStatus): readonly Finding[] {
  if (system.connected) return [];
  const says = `${gateway}: no system account since ${system.since}: no kick at the server, and no totals to hold against ours`;
  return [warn(says, "load what `wayleave render nats` writes: it names the broker's user of the system account")];
}

const farOffMs = 30_000;
const offMs = 2_500;

function serverClocks({ gateway, servers = [] }: NatsStatus): readonly Finding[] {
  return servers.flatMap(({ name, ahead_ms: ahead = 0 }) => {
    if (Math.abs(ahead) <= offMs) return [];
    const off = `${Math.abs(Math.round(ahead / 1000))} s ${ahead > 0 ? "ahead of" : "behind"}`;
    const says = `the clock of nats-server ${name} behind ${gateway} is ${off} the broker's`;
    const fix = "run NTP on both: tickets live 5 s, and users' rights end by the server's clock";
    return [Math.abs(ahead) > farOffMs ? fail(says, fix) : warn(says, fix)];
  });
}

function missingAccounts({ gateway, accounts }: NatsStatus): readonly Finding[] {
  return accounts
    .filter(({ known }) => known === false)
    .map(({ account, targets }) => {
      const says = `${gateway}: account ${account} of target ${targets.join(", ")} is not known to every nats-server`;
      return fail(says, "in operator mode look why it was not pushed in the broker's log; else render and reload");
    });
}

function fastRecords({ gateway, accounts }: NatsStatus): readonly Finding[] {
  const fast = accounts.filter(({ records }) => records === "fast").map(({ account }) => account);
  if (fast.length === 0) return [];
  const says = `${gateway} forwards messages of ${fast.join(", ")} up to 50 ms before their records are durable`;
  return [note(says, "write records: durable where no message may be without a record")];
}
