import { WayleaveError } from "../../core/errors.ts";
import { gather, type SystemConnection } from "./system-request.ts";

/** One nats-server that answers. */
export interface NatsServer {
  /** `N…` */
  readonly id: string;
  readonly name: string;
  readonly version: string;
}

const timeoutMs = 2000;
/** A server of the same cluster answers within a few ms of the first. */
const quietMs = 150;

/** Servers that answer the system account now; none where the connection is away. */
export async function askServers(connection: SystemConnection): Promise<readonly NatsServer[]> {
  const answers = await gather(connection, "$SYS.REQ.SERVER.PING", "", { timeoutMs, quietMs });
  const servers = answers.flatMap((text) => readSender(text) ?? []);
  return [...new Map(servers.map((server) => [server.id, server])).values()];
}

/** Who says so in a message of its own; undefined for anything else. */
export function readSender(text: string): NatsServer | undefined {
  return readServer(parse(text).server);
}

/**
 * Gives the account's JWT to all servers, and resolves when each one that is there has taken it. Servers that are known but
 * do not answer are asked whether they are there at all. Rejects `nats_unavailable` where one refuses, or is there and does
 * not answer in time: then some servers may have it and others not.
 */
export async function pushAccount(
  connection: SystemConnection,
  jwt: string,
  known: readonly NatsServer[],
  askAgain: () => Promise<readonly NatsServer[]>,
): Promise<void> {
  const waitedFor = new Set(known.map(({ id }) => id));
  const taken = (answers: readonly string[]) => new Set(answers.map((text) => readUpdate(text).server?.id));
  const answers = await gather(connection, "$SYS.REQ.CLAIMS.UPDATE", jwt, {
    timeoutMs,
    enough: (sofar) => sofar.length >= waitedFor.size && waitedFor.isSubsetOf(taken(sofar)),
  });
  const refused = answers.map(readUpdate).find(({ error }) => error !== undefined);
  if (refused !== undefined) {
    throw unavailable(`nats-server ${refused.server?.name ?? ""} refused an account: ${refused.error}.`);
  }
  if (answers.length === 0) {
    throw unavailable(
      "No nats-server took an account: none is there, or none is in operator mode with a full resolver.",
    );
  }
  const silent = waitedFor.difference(taken(answers));
  if (silent.size === 0) return;
  const failing = (await askAgain()).find(({ id }) => silent.has(id));
  if (failing !== undefined) throw unavailable(`nats-server ${failing.name} did not take an account in time.`);
}

/** What each server has for the account: JWTs, empty text where it has none or does not answer. */
export async function lookUpAccount(
  connection: SystemConnection,
  key: string,
  known: readonly NatsServer[],
): Promise<readonly string[]> {
  const answers = await gather(connection, `$SYS.REQ.ACCOUNT.${key}.CLAIMS.LOOKUP`, "", {
    timeoutMs,
    enough: (sofar) => sofar.length >= known.length,
  });
  return [...answers, ...known.slice(answers.length).map(() => "")];
}

interface UpdateAnswer {
  readonly server: NatsServer | undefined;
  /** The server's words; undefined where it took the account. */
  readonly error: string | undefined;
}

function readUpdate(text: string): UpdateAnswer {
  const { server, data, error } = parse(text);
  const code = objectOf(data).code;
  const why = objectOf(error).description;
  const said = typeof why === "string" ? why.replace(/[^ -~]/g, "?").slice(0, 200) : "no reason given";
  return { server: readServer(server), error: code === 200 ? undefined : said };
}

function readServer(value: unknown): NatsServer | undefined {
  const { id, name, ver } = objectOf(value);
  if (typeof id !== "string" || typeof name !== "string" || typeof ver !== "string") return undefined;
  return { id, name: name.replace(/[^ -~]/g, "?").slice(0, 64), version: ver.slice(0, 64) };
}

type Json = Readonly<Record<string, unknown>>;

function parse(text: string): Json {
  try {
    return objectOf(JSON.parse(text));
  } catch {
    return {}; // no answer that means anything
  }
}

const objectOf = (value: unknown): Json => (typeof value === "object" && value !== null ? (value as Json) : {});

function unavailable(detail: string): WayleaveError {
  return new WayleaveError("nats_unavailable", detail);
}
