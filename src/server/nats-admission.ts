import type { Clock } from "../core/clock.ts";
import { asWayleaveError, WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import { encodeBase32 } from "../core/ids.ts";
import { recordJob } from "../core/record.ts";
import type { NatsCreds } from "../credential/nats-creds.ts";
import { type NatsGrant, type NatsPasswords, natsPasswordPrefix } from "../credential/nats-password.ts";
import type { Admission, AdmissionRequest, Presented } from "../gateway/nats/ports.ts";
import type { Exchange } from "../session/exchange.ts";
import type { Session, SessionTable } from "../session/table.ts";
import type { NatsRefusals } from "./nats-refusals.ts";
import {
  type NatsFront,
  type NatsPolicy,
  natsAccountOf,
  natsIdentity,
  natsInbox,
  natsTargetsOf,
  refuseInactive,
} from "./nats-session.ts";

export interface AdmissionDeps {
  readonly gateway: NatsFront;
  readonly clock: Pick<Clock, "now">;
  readonly random: (bytes: number) => Uint8Array;
  readonly table: Pick<SessionTable, "find">;
  policy(): NatsPolicy;
  readonly passwords: Pick<NatsPasswords, "read">;
  readonly creds: Pick<NatsCreds, "read">;
  /** Opens or finds the session of a job's own token. */
  readonly connect: Exchange["connect"];
  readonly refusals: NatsRefusals;
}

/**
 * Who a client is, by what it presents: a password of `wayleave nats env`, the JWT of a credentials file with our nonce
 * signed, or the job's own CI token, whose first use opens its session. Every refusal is recorded; its detail is the client's.
 */
export function createNatsAdmission(deps: AdmissionDeps): (request: AdmissionRequest) => Promise<Admission> {
  return async (request) => {
    try {
      const { session, wanted } = await identify(deps, request);
      refuseInactive(session.view, deps.clock.now());
      return admission(deps, session, chooseTarget(deps, session.identity, wanted));
    } catch (cause) {
      const error = asWayleaveError(cause);
      deps.refusals.note(error, { from: request.from, secret: request.presented.secret });
      throw error;
    }
  };
}

interface Identified {
  readonly session: Session;
  /** Target name; undefined or empty where the client leaves it to us. */
  readonly wanted: string | undefined;
}

async function identify(deps: AdmissionDeps, request: AdmissionRequest): Promise<Identified> {
  const { gateway } = deps;
  const { presented } = request;
  if (request.gateway !== gateway.name) throw new TypeError("a gateway's authority admits to that gateway alone");
  if (presented.secret === "") {
    throw refused(
      "no credential: give what `wayleave nats env` prints as user and password, or the job's CI token as password or token",
    );
  }
  if (presented.proof !== undefined)
    return granted(deps, deps.creds.read(presented.secret, presented.proof), presented);
  if (presented.secret.startsWith(natsPasswordPrefix)) {
    return granted(deps, deps.passwords.read(presented.secret), presented);
  }
  return byToken(deps, request);
}

function granted(deps: AdmissionDeps, grant: NatsGrant | undefined, { user, proof }: Presented): Identified {
  const { gateway, table } = deps;
  const what = proof === undefined ? "password" : "credentials file";
  const again = `Run \`wayleave nats ${proof === undefined ? "env" : "creds"}\` again.`;
  if (grant === undefined) throw refused(`the ${what} is none of ours, or damaged. ${again}`);
  if (grant.gateway !== gateway.name) {
    throw refused(`the ${what} is for gateway ${grant.gateway}, and this is ${gateway.name}. ${again}`);
  }
  const session = table.find(grant.session);
  if (session === undefined) throw refused(`session ${grant.session} is not known any more. ${again}`);
  if (user !== undefined && user !== "" && user !== grant.target) {
    throw refused(
      `the ${what} is for target ${grant.target}, and the user is ${JSON.stringify(user.slice(0, 63))}. ${again}`,
    );
  }
  return { session, wanted: grant.target };
}

/** Longest token that is looked at. */
const maxToken = 16 * 1024;

async function byToken(deps: AdmissionDeps, { presented, from }: AdmissionRequest): Promise<Identified> {
  const { secret, user } = presented;
  if (secret.length > maxToken || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(secret)) {
    throw refused("the password is neither one of `wayleave nats env` nor a CI job's token");
  }
  const session = await deps.connect({
    subjectToken: secret,
    gateway: deps.gateway.name,
    from,
    accept: (identity) => void place(deps, identity, user),
  });
  return { session, wanted: user };
}

/** What makes it worth while to open a session: there is a target, and an account at it. */
function place(deps: AdmissionDeps, identity: JobIdentity, user: string | undefined): string {
  return natsAccountOf(deps.policy(), identity, chooseTarget(deps, identity, user));
}

/** The one target there is, or the one whose name is the user. Throws, naming the choices. */
function chooseTarget({ policy, gateway }: AdmissionDeps, identity: JobIdentity, user: string | undefined): string {
  const targets = natsTargetsOf(policy(), identity, gateway);
  const [only] = targets;
  if (only === undefined) {
    throw new WayleaveError("access_denied", `No role of this job names a NATS target of gateway ${gateway.name}.`);
  }
  const choices = `at gateway ${gateway.name} this job has: ${targets.join(", ")}`;
  if (user === undefined || user === "") {
    if (targets.length === 1) return only;
    throw new WayleaveError("invalid_target", `Say which target, as the user name; ${choices}.`);
  }
  if (targets.includes(user)) return user;
  throw new WayleaveError("invalid_target", `The user must be a target's name, or empty; ${choices}.`);
}

function admission({ policy, random }: AdmissionDeps, session: Session, target: string): Admission {
  const { id, identity, view } = session;
  const { nats } = policy().targetFor(target, identity) ?? {};
  return {
    connection: `nc_${encodeBase32(random(10))}`,
    session: id,
    target,
    account: natsAccountOf(policy(), identity, target),
    inbox: natsInbox(id),
    identity: natsIdentity(id, identity),
    records: nats?.records ?? "durable",
    deliveries: nats?.deliveries ?? "counted",
    hardEndAt: view.hardEndAt,
    record: { session: id, job: recordJob(identity) },
  };
}

function refused(detail: string): WayleaveError {
  return new WayleaveError("credential_invalid", detail);
}
