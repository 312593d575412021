import type { OperatorRole } from "../core/person.ts";

/** Who may use a route of the operators' side, and what that is called. */
export interface Access {
  readonly role: OperatorRole;
  /** As its command says it. */
  readonly action: string;
  /** It changes nothing, whatever its method says. */
  readonly asks?: true;
  /** Its answer goes on for as long as the reader stays. */
  readonly endless?: true;
}

/**
 * Every route of the operators' side and the role it needs: the one table. A route without a row cannot be served, and
 * the broker says so at its start.
 */
export const operatorAccess: Readonly<Record<string, Access>> = {
  "GET /v1/me": { role: "viewer", action: "whoami" },
  "POST /v1/sign-out": { role: "viewer", action: "logout" },
  "GET /v1/status": { role: "viewer", action: "status" },
  "GET /v1/sessions": { role: "viewer", action: "session list" },
  "GET /v1/sessions/:id": { role: "viewer", action: "session show" },
  "POST /v1/sessions/:id/end": { role: "operator", action: "session end" },
  "POST /v1/can": { role: "viewer", action: "policy can", asks: true },
  "POST /v1/policy/reload": { role: "operator", action: "policy reload" },
  "POST /v1/projects/ids": { role: "operator", action: "policy lock", asks: true },
  "GET /v1/policy": { role: "viewer", action: "policy status" },
  "GET /v1/policies": { role: "viewer", action: "policy list" },
  "POST /v1/policy/candidate": { role: "operator", action: "policy candidate" },
  "POST /v1/policy/candidate/withdraw": { role: "operator", action: "policy candidate" },
  "POST /v1/policy/canary": { role: "operator", action: "policy canary" },
  "POST /v1/policy/promote": { role: "operator", action: "policy promote" },
  "POST /v1/policy/rollback": { role: "operator", action: "policy rollback" },
  "GET /v1/gateways": { role: "viewer", action: "gateway list" },
  "GET /v1/nats": { role: "viewer", action: "nats status" },
  "GET /v1/gateways/:name/nats": { role: "operator", action: "render nats" },
  "POST /v1/gateways/:name/nats/admins": { role: "operator", action: "nats admin" },
  "GET /v1/events": { role: "viewer", action: "events list" },
  "POST /v1/events/retry": { role: "operator", action: "events retry" },
  "GET /v1/keys": { role: "viewer", action: "key list" },
  "POST /v1/keys/:class/prepare": { role: "operator", action: "key prepare" },
  "POST /v1/keys/:class/activate": { role: "operator", action: "key activate" },
  "POST /v1/keys/:class/:kid/retire": { role: "operator", action: "key retire" },
  "POST /v1/keys/:class/:kid/revoke": { role: "operator", action: "key revoke" },
  "GET /v1/records": { role: "auditor", action: "audit list" },
  "GET /v1/records/stream": { role: "auditor", action: "audit tail", endless: true },
  "GET /v1/records/history": { role: "auditor", action: "audit history" },
  "GET /v1/records/:id": { role: "auditor", action: "audit show" },
  "GET /v1/records/:id/explain": { role: "auditor", action: "explain" },
  "GET /v1/verify/:name": { role: "auditor", action: "verify" },
  "GET /v1/sign-ins": { role: "auditor", action: "people list" },
  "POST /v1/sign-ins/:id/end": { role: "operator", action: "people end" },
};
