import { randomBytes } from "node:crypto";
import { vocabulary } from "../ci/providers.ts";
import { createNatsCreds } from "../credential/nats-creds.ts";
import { createNatsPasswords } from "../credential/nats-password.ts";
import { createLimits } from "../gateway/limits.ts";
import type { AdmissionRequest, Presented, UpstreamGreeting } from "../gateway/nats/ports.ts";
import type { Ticket } from "../gateway/nats/ticket.ts";
import { compile } from "../policy/compile.ts";
import { parsePolicy } from "../policy/parse.ts";
import type { Policy } from "../policy/policy.ts";
import { harness, identity } from "../session/harness.fake.ts";
import { type BrokerNatsAuthority, createNatsAuthority, type NatsAuthorityDeps } from "./nats-authority.ts";
import { createNatsRefusals } from "./nats-refusals.ts";

/** Policy text to policy. */
export function natsPolicy(text: string): Policy {
  const { model, diagnostics } = parsePolicy({
    files: [{ name: "policy.yaml", text }],
    vocabulary,
    issuers: [{ name: "gitlab", type: "gitlab" }],
  });
  if (model === undefined) throw new TypeError(diagnostics.map(({ message }) => message).join("; "));
  return compile(model, vocabulary);
}

/** Two targets for acme/shop, one of them an account by template; another project has none. */
export const shopNats = `version: 1
targets:
  events: { nats: { account: CI } }
  audit: { nats: { account: "P_\${job.project_id}", records: fast, deliveries: full } }
  elsewhere: { nats: { account: FAR } }
  billing: { http: { hosts: [billing.internal] } }
who:
  shop: { gitlab: { project: acme/shop } }
  tools: { gitlab: { project: acme/tools } }
  plain: { gitlab: { project: acme/plain } }
roles:
  status: { for: [shop, tools], allow: { events: ["pub build.status.\${job.project_id}.*", "sub deploy.events.*"] } }
  release: { for: [shop], when: change.merged, allow: { events: ["pub release.done"] } }
  slow: { for: [shop], limit: { rate: 2/min, per: session }, allow: { events: ["pub slow.done"] } }
  log: { for: [shop], allow: { audit: ["pub log.*"] } }
  far: { for: [shop], allow: { elsewhere: ["pub far.away"] } }
  web: { for: [plain], allow: { billing: [GET /v1/health] } }
`;

export const greeting: UpstreamGreeting = { serverId: "NSERVER", cid: 7, version: "2.15.1", nonce: "nonce-1" };

const operatorKey = Buffer.alloc(32, 7);

/** A broker's parts around one NATS gateway, in memory: sessions from \`token:<job>:<n>\` or, at the gateway, \`token.<job>.<n>\`. */
export function natsWorld(options: { readonly policy?: string; readonly gateway?: string } = {}) {
  const sessions = harness({
    api: {
      jobStatus: async () => ({ status: "running", running: true, over: false }),
      facts: async () => ({ ...world.facts }),
    },
    facts: ["change.merged"],
  });
  const { clock, recorder, table } = sessions;
  const world = { facts: {} as Record<string, boolean>, policy: natsPolicy(options.policy ?? shopNats) };
  sessions.setPolicy(world.policy);
  const name = options.gateway ?? "jobs";
  const tickets: Ticket[] = [];
  const passwords = createNatsPasswords(operatorKey);
  const creds = createNatsCreds(operatorKey, randomBytes);
  const fingerprint = (secret: string) => `fp_${secret.length}`;
  const deps: NatsAuthorityDeps = {
    gateway: { name, targets: ["events", "audit", "billing"] },
    clock,
    random: randomBytes,
    table,
    recorder,
    limits: createLimits(clock),
    policy: () => world.policy,
    connect: (request) => sessions.connect({ ...request, subjectToken: request.subjectToken.replaceAll(".", ":") }),
    passwords,
    creds,
    refusals: createNatsRefusals({ gateway: name, clock, fingerprint, record: (event) => void recorder.note(event) }),
    mintTicket(ticket) {
      tickets.push(ticket);
      return `wlt_${ticket.connection}`;
    },
    proxySignature: (nonce) => `signed ${nonce}`,
  };
  const authority: BrokerNatsAuthority = createNatsAuthority(deps);
  const of = (presented: Presented, more: Partial<AdmissionRequest> = {}): AdmissionRequest => ({
    gateway: name,
    presented,
    from: "10.0.0.7",
    client: { name: "release.sh", lang: "nats.js", version: "3.4.0" },
    ...more,
  });
  return {
    ...sessions,
    deps,
    authority,
    passwords,
    creds,
    fingerprint,
    tickets,
    of,
    world,
    /** Puts another policy into force; nobody is told. */
    enforce(text: string) {
      world.policy = natsPolicy(text);
      sessions.setPolicy(world.policy);
    },
    /** A session of the job, opened over HTTP, and its password at the gateway. */
    async password(job = "7712", target = "events", gateway = name) {
      const { session } = await sessions.exchange(`token:${job}:1`, { jkt: `key of ${job}` });
      return {
        session: sessions.session(session.id),
        secret: passwords.password({ session: session.id, gateway, target }),
      };
    },
    /** A job of another project. */
    jobOf(token: string, path: string, id: string, job = token.split(":")[1] ?? "") {
      const attributes = { project: [path], project_id: [id], ref: "main" };
      sessions.tokenFor(
        token,
        identity(job, { project: { id, path }, attributes, variables: { "job.project_id": id } }),
      );
    },
  };
}

export type NatsWorld = ReturnType<typeof natsWorld>;
