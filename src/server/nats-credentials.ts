import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { type AuditEvent, type Recorder, recordJob } from "../core/record.ts";
import type { NatsCreds } from "../credential/nats-creds.ts";
import type { NatsGrant, NatsPasswords } from "../credential/nats-password.ts";
import type { Session } from "../session/table.ts";
import {
  type NatsFront,
  type NatsPolicy,
  natsAccountOf,
  natsInbox,
  natsTargetsOf,
  refuseInactive,
} from "./nats-session.ts";

/** What a job asks for; what it leaves out is chosen where there is but one. */
export interface NatsCredentialRequest {
  readonly target?: string;
  readonly gateway?: string;
  readonly form: "password" | "creds";
}

/** How a job connects to NATS. The secret is good at that gateway alone, and only while the session is active. */
export interface NatsCredential {
  /** `nats://host:port` or `tls://host:port`. */
  readonly url: string;
  /** Target name. */
  readonly user: string;
  readonly secret: { readonly password: string } | { readonly creds: string };
  readonly target: string;
  readonly gateway: string;
  readonly account: string;
  /** First token of the job's own inboxes. */
  readonly inbox: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

export interface NatsCredentialDeps {
  readonly gateways: readonly (NatsFront & {
    /** What jobs connect to; where it listens. */
    url(): string;
  })[];
  readonly clock: Pick<Clock, "now">;
  readonly recorder: Pick<Recorder, "append">;
  readonly passwords: Pick<NatsPasswords, "password">;
  readonly creds: Pick<NatsCreds, "create">;
  fingerprint(secret: string): string;
  policy(): NatsPolicy;
}

/**
 * A password or credentials file for a session, its record durable first. Throws `invalid_target` where there is none to
 * give or several, naming them, `session_ended` and `session_suspended`.
 */
export function createNatsCredentials(deps: NatsCredentialDeps) {
  return async (session: Session, request: NatsCredentialRequest): Promise<NatsCredential> => {
    refuseInactive(session.view, deps.clock.now());
    const { gateway, target } = choose(deps, session, request);
    const account = natsAccountOf(deps.policy(), session.identity, target);
    const grant = { session: session.id, gateway: gateway.name, target };
    const { secret, marked } = make(deps, grant, request.form);
    await deps.recorder.append([minted(session, grant, request.form, deps.fingerprint(marked))]);
    refuseInactive(session.view, deps.clock.now());
    return {
      url: gateway.url(),
      user: target,
      secret,
      target,
      gateway: gateway.name,
      account,
      inbox: natsInbox(session.id),
      expiresAt: session.view.hardEndAt,
    };
  };
}

/** `marked` is what a gateway is shown of it: a refusal there can be traced to this record. */
function make({ passwords, creds, clock }: NatsCredentialDeps, grant: NatsGrant, form: NatsCredentialRequest["form"]) {
  if (form === "creds") {
    const { text, jwt } = creds.create(grant, clock.now());
    return { secret: { creds: text }, marked: jwt };
  }
  const password = passwords.password(grant);
  return { secret: { password }, marked: password };
}

function minted(
  { id, identity, view }: Session,
  { gateway, target }: NatsGrant,
  form: NatsCredentialRequest["form"],
  token: string,
): AuditEvent {
  return {
    kind: "nats.credential_minted",
    session: id,
    job: recordJob(identity),
    data: { class: form, gateway, target, expires_at: view.hardEndAt, token },
  };
}

type Gateway = NatsCredentialDeps["gateways"][number];

interface Choice {
  readonly gateway: Gateway;
  readonly target: string;
}

function choose(deps: NatsCredentialDeps, { identity }: Session, asked: NatsCredentialRequest): Choice {
  const policy = deps.policy();
  const all = deps.gateways.flatMap((gateway) =>
    natsTargetsOf(policy, identity, gateway).map((target): Choice => ({ gateway, target })),
  );
  if (all.length === 0) throw none(policy, identity);
  const ofTarget = all.filter(({ target }) => asked.target === undefined || target === asked.target);
  if (ofTarget.length === 0) throw unknown("target", asked.target ?? "", targetsIn(all));
  const fitting = ofTarget.filter(({ gateway }) => asked.gateway === undefined || gateway.name === asked.gateway);
  if (fitting.length === 0) throw unknown("gateway", asked.gateway ?? "", gatewaysIn(ofTarget));
  const [first] = fitting;
  if (first !== undefined && fitting.length === 1) return first;
  const targets = targetsIn(fitting);
  throw targets.length > 1
    ? several("NATS targets", targets, "--target")
    : several("gateways for it", gatewaysIn(fitting), "--gateway");
}

const targetsIn = (choices: readonly Choice[]) => [...new Set(choices.map(({ target }) => target))].toSorted();
const gatewaysIn = (choices: readonly Choice[]) => [...new Set(choices.map(({ gateway }) => gateway.name))].toSorted();

function none(policy: NatsPolicy, identity: Session["identity"]): WayleaveError {
  const nats = [...policy.targets.values()].filter(({ kind }) => kind === "nats").map(({ name }) => name);
  const named = natsTargetsOf(policy, identity, { name: "", targets: nats });
  return named.length === 0
    ? new WayleaveError("invalid_target", "No role of this job names a NATS target; add one to a role that is for it.")
    : new WayleaveError(
        "invalid_target",
        `No NATS gateway fronts ${named.join(", ")}; list it under a gateway's targets.`,
      );
}

function unknown(what: "target" | "gateway", asked: string, known: readonly string[]): WayleaveError {
  const quoted = JSON.stringify(asked.slice(0, 63));
  return new WayleaveError("invalid_target", `This job has no NATS ${what} ${quoted}; it has: ${known.join(", ")}.`);
}

function several(what: string, names: readonly string[], option: string): WayleaveError {
  return new WayleaveError(
    "invalid_target",
    `This job has several ${what}: ${names.join(", ")}. Say which with ${option}.`,
  );
}
