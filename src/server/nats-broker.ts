import { randomBytes } from "node:crypto";
import { providerOf } from "../ci/providers.ts";
import type { Config, NatsGatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import { natsCalloutKeys } from "../credential/nats-callout-keys.ts";
import type { NatsCreds } from "../credential/nats-creds.ts";
import { encodeNatsJwt } from "../credential/nats-jwt.ts";
import type { NatsKeys } from "../credential/nats-keys.ts";
import type { NatsPasswords } from "../credential/nats-password.ts";
import type { Limits } from "../gateway/limits.ts";
import { jobAccountClaims } from "../gateway/nats/account-claims.ts";
import { type Accounts, createAccounts } from "../gateway/nats/accounts.ts";
import { type CalloutGrant, createCallout } from "../gateway/nats/callout.ts";
import type { CalloutRequest } from "../gateway/nats/callout-request.ts";
import { defaultNatsLimits } from "../gateway/nats/gateway-limits.ts";
import { createRefusalNotes } from "../gateway/nats/refusal-notes.ts";
import { namedAccounts } from "../gateway/nats/settings.ts";
import { mintTicket } from "../gateway/nats/ticket.ts";
import type { Policy } from "../policy/policy.ts";
import type { Session, SessionTable } from "../session/table.ts";
import type { BrokerKeys } from "./keys.ts";
import { type BrokerNatsAuthority, createNatsAuthority, type NatsAuthorityDeps } from "./nats-authority.ts";
import type { OpenConnection, OpenConnections } from "./nats-open.ts";
import { createNatsRefusals } from "./nats-refusals.ts";
import { connectNatsServers, type NatsServers } from "./nats-servers.ts";
import type { PolicySource } from "./policy-source.ts";
import type { SessionServices } from "./sessions.ts";
import type { RecordReader } from "./surface.ts";

export interface NatsDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly records: RecordReader;
  readonly table: SessionTable;
  readonly keys: Pick<BrokerKeys, "fingerprint" | "root">;
  readonly natsKeys: NatsKeys;
  readonly policies: PolicySource;
  policy(): ReturnType<NatsAuthorityDeps["policy"]> & Pick<Policy, "natsRightsNow">;
  readonly sessions: Pick<SessionServices, "exchange">;
  readonly limits: Limits;
  /** Notes what may go unrecorded when nothing can be: it was refused already. */
  note(event: AuditEvent): void;
  /** A client was admitted or refused. */
  onAsked(gateway: string): void;
  onFault(error: unknown): void;
}

export interface NatsBrokerDeps extends NatsDeps {
  /** A connection is about to be authenticated: no system account that hears of it is to take it for a stranger. */
  announce(serverId: string, cid: number): void;
  readonly open: OpenConnections;
  /** Public keys of users that the broker made for itself and for operators. */
  readonly ownUsers: ReadonlySet<string>;
}

/** The broker's half of one NATS gateway: who may come, and the servers that ask it about every client. */
export interface NatsBroker {
  readonly authority: BrokerNatsAuthority;
  readonly servers: NatsServers;
  /** Resolves when every server has the account. */
  ensure(account: string): Promise<void>;
  close(): Promise<void>;
}

export interface NatsSecrets {
  readonly passwords: NatsPasswords;
  readonly creds: NatsCreds;
}

/** Begins to reach the servers; whoever connects before they are there is told so. */
export function openNatsBroker(deps: NatsBrokerDeps, gateway: NatsGatewayConfig, secrets: NatsSecrets): NatsBroker {
  const { clock, natsKeys, onFault } = deps;
  const { name } = gateway;
  const decided = connectAuthority(deps, gateway, secrets);
  const noteRefusal = createRefusalNotes(name, clock, deps.note);
  const callout = createCallout({
    keys: natsCalloutKeys(natsKeys, gateway.authentication, clock),
    ticketKey: natsKeys.ticketKey,
    now: clock.now,
    grantOf: ({ connection }) => grantOf(deps, deps.open.find(connection)),
    grantOfOpen(serverId, cid) {
      const open = deps.open.at(serverId, cid);
      const grant = grantOf(deps, open);
      return open === undefined || grant === undefined ? undefined : { ...grant, mode: open.mode };
    },
    ...(gateway.direct ? { admitDirect: (request) => admitDirect(deps, gateway, authority, request) } : {}),
    onRefused: ({ code, detail, request, connection }) => {
      const admission = deps.open.find(connection ?? "")?.admission;
      noteRefusal({ code, detail, from: request.from, ...(admission === undefined ? {} : { admission }) });
    },
  });
  const servers = connectNatsServers({
    gateway,
    keys: natsKeys,
    clock,
    callout,
    onStranger: ({ account, user, host }) => {
      if (deps.ownUsers.has(user)) return;
      noteRefusal({
        code: "connection_unannounced",
        detail: `${user || "somebody"} is in account ${account} without having come through the gateway`,
        from: host,
      });
    },
    onRefused: ({ reason, host }) => noteRefusal({ code: "server_refused", detail: reason, from: host }),
    onConnected: () => accounts?.bring(),
    onFault,
  });
  const accounts = gateway.authentication === "operator" ? keepAccounts(deps, gateway, servers) : undefined;
  const ensure = async (account: string) => accounts?.ensure(account);
  const authority = withOpen(deps, decided, ensure);
  const unwatch = decided.watch(({ session }) => {
    // Suspended as well as ended: whoever comes again is asked about again.
    if (gateway.direct && deps.table.view(session)?.state !== "active") kickAll(deps, servers, session);
  });
  return {
    authority,
    servers,
    ensure,
    async close() {
      unwatch();
      accounts?.close();
      decided.close();
      await servers.close();
    },
  };
}

/** What is attached is open until its end is recorded, and its account is at the servers before. */
function withOpen(
  { open, announce }: NatsBrokerDeps,
  decided: BrokerNatsAuthority,
  ensure: NatsBroker["ensure"],
): BrokerNatsAuthority {
  const gone = (events: readonly AuditEvent[]) => {
    for (const event of events) if (event.kind === "nats.disconnected") open.forget(event.data.connection);
  };
  return {
    ...decided,
    async attach(admission, upstream, mode = "gateway") {
      const { serverId, cid } = upstream;
      await ensure(admission.account);
      announce(serverId, cid);
      open.add({ admission, mode, serverId, cid });
      try {
        return await decided.attach(admission, upstream, mode);
      } catch (error) {
        open.forget(admission.connection); // no record of it, so nobody will say that it is gone
        throw error;
      }
    },
    async append(events) {
      await decided.append(events);
      gone(events);
    },
    note(event) {
      decided.note(event);
      gone([event]);
    },
  };
}

function connectAuthority(
  deps: NatsDeps,
  { name, targets }: NatsGatewayConfig,
  { passwords, creds }: NatsSecrets,
): BrokerNatsAuthority {
  const { clock, natsKeys, keys } = deps;
  const refusals = createNatsRefusals({ gateway: name, clock, fingerprint: keys.fingerprint, record: deps.note });
  return createNatsAuthority({
    gateway: { name, targets },
    clock,
    random: (bytes) => randomBytes(bytes),
    table: deps.table,
    recorder: deps.recorder,
    limits: deps.limits,
    policy: deps.policy,
    passwords,
    creds,
    connect: deps.sessions.exchange.connect,
    refusals: {
      note(error: WayleaveError, of) {
        deps.onAsked(name);
        refusals.note(error, of);
      },
    },
    mintTicket: (ticket) => mintTicket(natsKeys.ticketKey, ticket),
    proxySignature: (nonce) => natsKeys.proxy.sign(Buffer.from(nonce)).toString("base64url"),
  });
}

interface KeptAccounts extends Pick<Accounts, "ensure"> {
  /** The servers may be others than before: they get every account there is, as it is now, where they have not. */
  bring(): void;
  close(): void;
}

/** How long until what the servers did not take is tried again. */
const againMs = 5_000;

/** The servers' accounts, brought up to date with each change of keys: a key that was revoked must be gone there too. */
function keepAccounts(deps: NatsDeps, gateway: NatsGatewayConfig, servers: NatsServers): KeptAccounts {
  const { natsKeys, onFault, policies } = deps;
  const accounts = connectAccounts(deps, gateway, servers);
  let again: NodeJS.Timeout | undefined;
  const refresh = async (names: readonly string[]): Promise<void> => {
    const failed = await accounts.refresh(names);
    const [first] = failed;
    if (first === undefined || !servers.health().system.connected) return; // a server that comes back gets all of them
    onFault(first.error);
    clearTimeout(again);
    again = setTimeout(() => void refresh(failed.map(({ account }) => account)).catch(onFault), againMs);
  };
  const all = () => {
    const named = namedAccounts(gateway.targets, policies.current().model);
    return [...new Set([...named, ...natsKeys.accounts().map((each) => each.name)])];
  };
  const stop = natsKeys.onChange(() => void refresh(all()).catch(onFault));
  return {
    ensure: accounts.ensure,
    bring() {
      accounts.forget();
      refresh(all()).catch(onFault);
    },
    close() {
      stop();
      clearTimeout(again);
    },
  };
}

function connectAccounts(
  { natsKeys, clock, recorder }: NatsDeps,
  gateway: NatsGatewayConfig,
  servers: NatsServers,
): Accounts {
  return createAccounts({
    gateway: gateway.name,
    servers: servers.system,
    async describe(name) {
      const { publicKey, signing } = await natsKeys.account(name);
      return jobAccountClaims({
        key: publicKey,
        signingKeys: signing.map((each) => each.publicKey),
        name,
        jetstream: {},
      });
    },
    sign: (claims, issuedAt) => encodeNatsJwt(claims, natsKeys.operatorSigning, issuedAt * 1000),
    now: clock.now,
    async record(data) {
      const event: AuditEvent = { kind: "nats.account_pushed", data };
      await recorder.append([event]);
    },
  });
}

/**
 * Until when the server keeps the connection by itself, ms since the epoch. A session that its job renews outlives its hard
 * end of now, to which the gateway holds it; the server would disconnect it there.
 */
function serverEnd({ config }: NatsDeps, { identity, jkt, view }: Session, mode: OpenConnection["mode"]): number {
  const issuer = config.issuers.find(({ name }) => name === identity.issuer);
  const renews = jkt !== undefined && issuer !== undefined && providerOf(issuer)?.renewable === true;
  return mode === "gateway" && renews
    ? Math.max(view.hardEndAt, view.openedAt + config.sessions.maxMs)
    : view.hardEndAt;
}

/** Whom an open connection stands for at the server, and the most it may do there; behind the gateway that decides each message. */
function grantOf(deps: NatsDeps, open: OpenConnection | undefined): CalloutGrant | undefined {
  if (open === undefined) return undefined;
  const { table, policy, clock } = deps;
  const { admission, mode } = open;
  const session = table.find(admission.session);
  if (session?.view.state !== "active") return undefined;
  const { identity, facts } = session;
  return {
    account: admission.account,
    name: `${identity.issuerType}:${identity.issuer}:${identity.project.id}:job:${identity.job.id}`,
    rights:
      mode === "direct"
        ? policy().natsRightsNow(identity, admission.target, facts, clock.now())
        : policy().natsRights(identity, admission.target),
    inbox: admission.inbox,
    expiresAt: serverEnd(deps, session, mode),
    limits: userLimits,
  };
}

/** A job that came to the server itself: let in by what it presents, recorded, and from then on held by the server alone. */
async function admitDirect(
  deps: NatsBrokerDeps,
  { name }: NatsGatewayConfig,
  { admit, attach }: BrokerNatsAuthority,
  { secret, user, from, client, server, cid }: CalloutRequest,
): Promise<CalloutGrant> {
  const admission = await admit({
    gateway: name,
    presented: { secret, ...(user === undefined ? {} : { user }) },
    from,
    client,
  });
  // The ticket is nobody's: what counts is that the connection is known and its record durable.
  await attach(admission, { serverId: server.id, cid, version: server.version, nonce: "" }, "direct");
  const grant = grantOf(deps, deps.open.find(admission.connection));
  if (grant === undefined) throw new WayleaveError("session_ended", "the session ended meanwhile");
  return grant;
}

/** Nobody but the server can close what did not come through the gateway. */
function kickAll({ open, onFault }: NatsBrokerDeps, { system }: NatsServers, session: string): void {
  for (const { mode, serverId, cid, admission } of open.ofSession(session)) {
    if (mode !== "direct") continue;
    open.forget(admission.connection);
    system.kick(serverId, cid).catch(onFault);
  }
}

/** Payloads are bounded by the gateway and by the server's own `max_payload`, whose largest value this is. */
const userLimits = { payload: 64 * 1024 * 1024, subscriptions: defaultNatsLimits.subscriptions } as const;
