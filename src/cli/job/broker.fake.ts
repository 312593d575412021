import { createHash, createPublicKey, type JsonWebKey, verify } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { DecisionSummary, ListedTarget } from "../../api/contract.ts";

/** One request as the fake broker got it. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly form: URLSearchParams;
  readonly body: string;
  readonly headers: IncomingMessage["headers"];
  /** Thumbprint of the proof's key; undefined where there is no valid proof. */
  readonly jkt: string | undefined;
}

export interface FakeBroker {
  readonly url: string;
  readonly seen: Seen[];
  /** Requests to a path. */
  count(path: string): number;
  /** The next so many answers to `path` are lost after they took effect: the connection breaks. */
  loseAnswers(path: string, times: number): void;
  /** Refuse the path with this code from now on. */
  refuse(path: string, status: number, code: string, description: string): void;
  /** A gateway refused a request of the session. */
  deny(summary: DecisionSummary): void;
  /** Seconds access tokens live. */
  tokenSeconds: number;
  /** What proofs must carry; a request whose proof does not is refused and not among those seen. */
  nonce: string;
  /** What the job may reach that takes only tokens bound to its key. */
  proofTargets: readonly ListedTarget[];
  /** What the job may reach. */
  targets: readonly ListedTarget[];
  ended: boolean;
  /** Until the next heartbeat. */
  suspended: boolean;
  close(): Promise<void>;
}

export const fakeSession = "ses_0123456789abcdef";
const lines = [
  { label: "you are", text: "acme/shop · job release #7712" },
  { label: "failed", text: "change.merged is false" },
];

/** A broker that speaks the HTTP contract and checks proofs, replay and idempotency as the real one does. */
export async function fakeBroker(): Promise<FakeBroker> {
  const lost = new Map<string, number>();
  const refusals = new Map<string, { status: number; code: string; description: string }>();
  const proofs = new Set<string>();
  const waiting = new Set<ServerResponse>();
  const denied: DecisionSummary[] = [];
  let bound: { jkt: string | undefined; idempotencyKey: string | undefined } | undefined;
  let generation = 0;
  let minted = 0;

  const server = createServer((request, response) => {
    void read(request).then((body) => handle(request, body, response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  function handle(request: IncomingMessage, body: string, response: ServerResponse): void {
    const path = new URL(request.url ?? "/", url).pathname;
    const method = request.method ?? "";
    const form = new URLSearchParams(body);
    if (typeof request.headers.dpop === "string" && nonceOf(request.headers.dpop) !== broker.nonce) {
      const { status, body: refusal } = oauth(400, "proof_nonce_required", "Make it again with the nonce.");
      response.writeHead(status, { "content-type": "application/json", "dpop-nonce": broker.nonce });
      response.end(JSON.stringify(refusal));
      return;
    }
    const presented = request.headers.authorization?.replace("Bearer ", "");
    const jkt = proofKey(request.headers.dpop, { method, url: url + path, presented }, proofs);
    const seen: Seen = { method, path, form, body, headers: request.headers, jkt };
    broker.seen.push(seen);
    const refusal = refusals.get(path);
    const answer =
      refusal === undefined ? route(seen, request) : oauth(refusal.status, refusal.code, refusal.description);
    if (answer === undefined) {
      waiting.add(response);
      return;
    }
    const left = lost.get(path) ?? 0;
    if (left > 0) {
      lost.set(path, left - 1);
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
  }

  function route(seen: Seen, request: IncomingMessage): Answer | undefined {
    if (seen.path === "/oauth2/token") {
      return seen.form.get("grant_type") === "refresh_token" ? refresh(seen) : exchange(seen);
    }
    if (broker.ended) return oauth(400, "session_ended", "Session ended (client_end).");
    if (!authorised(seen)) return oauth(401, "credential_invalid", "No proof and no token.");
    const answer = sessionRoutes[seen.path];
    if (answer !== undefined) return answer(request);
    const record = seen.path.split("/").at(-1) ?? "";
    const source = { kind: "decision" };
    return { status: 200, body: { record, title: "denied  POST billing /v1/releases", lines, source } };
  }

  const sessionRoutes: Readonly<Record<string, (request: IncomingMessage) => Answer | undefined>> = {
    "/v1/session/lease": () => {
      broker.suspended = false;
      return { status: 200, body: { session_id: fakeSession, state: "active", interval: 10 } };
    },
    "/v1/session/release": () => ({ status: 204 }),
    "/v1/session/end": () => {
      broker.ended = true;
      return { status: 204 };
    },
    "/v1/session/decisions": decisions,
    "/v1/session/nats": () => nats(broker.seen.at(-1)?.body ?? ""),
  };

  function exchange({ form, jkt, headers }: Seen): Answer {
    const idempotencyKey = headers["idempotency-key"] as string | undefined;
    if (form.get("subject_token") === null) return oauth(400, "invalid_request", "Parameter subject_token is missing.");
    if (bound !== undefined) {
      const again = bound.jkt === undefined ? bound.idempotencyKey === idempotencyKey : bound.jkt === jkt;
      if (!again) return oauth(400, "subject_token_replayed", `This token was first used by ${fakeSession}.`);
    }
    bound = { jkt, idempotencyKey };
    return tokens(form);
  }

  function refresh({ form, jkt }: Seen): Answer {
    if (broker.ended) return oauth(400, "session_ended", "Session ended (client_end).");
    if (broker.suspended) return oauth(400, "session_suspended", "Session is suspended (lease_missed).");
    if (form.get("refresh_token") !== refreshToken())
      return oauth(400, "refresh_token_invalid", "No such refresh token.");
    if (bound?.jkt !== undefined && bound.jkt !== jkt) return oauth(400, "proof_invalid", "Another key.");
    if (bound?.jkt === undefined) generation += 1;
    return tokens(form);
  }

  const refreshToken = (): string => `wlr_${generation}`;

  function tokens(form: URLSearchParams): Answer {
    minted += 1;
    const asked = (each: ListedTarget) => !form.has("audience") || form.getAll("audience").includes(each.name);
    const targets = broker.targets.filter(asked);
    const proofTargets = broker.proofTargets.filter(asked);
    const bearer = targets.length > 0 || proofTargets.length === 0;
    const job = { project_path: "acme/shop", name: "release", job_id: "7712" };
    const payload = Buffer.from(JSON.stringify({ job })).toString("base64url");
    return {
      status: 200,
      body: {
        access_token: `eyJhbGciOiJub25lIn0.${payload}.signature${minted}`,
        issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
        token_type: bearer ? "Bearer" : "DPoP",
        expires_in: broker.tokenSeconds,
        scope: "read-billing release",
        refresh_token: refreshToken(),
        session_id: fakeSession,
        session_expires_at: "2099-01-01T10:30:00.000Z",
        record: "rec_000000000001",
        targets: bearer ? broker.targets : proofTargets,
        ...(bearer && proofTargets.length > 0 ? { proof_targets: proofTargets } : {}),
      },
    };
  }

  function authorised({ headers, jkt }: Seen): boolean {
    if (headers.authorization === `Bearer ${refreshToken()}`) return bound?.jkt === undefined || jkt === bound.jkt;
    return jkt !== undefined && jkt === bound?.jkt && headers["wayleave-session"] === fakeSession;
  }

  /** Denials after a record; a long poll without any is answered by the next denial, or never. */
  function decisions(request: IncomingMessage): Answer | undefined {
    const query = new URL(request.url ?? "/", url).searchParams;
    const found = denied.filter(({ record }) => record > (query.get("after") ?? ""));
    if (found.length === 0 && Number(query.get("wait")) > 1) return undefined;
    return { status: 200, body: { decisions: found } };
  }

  const broker: FakeBroker = {
    url,
    seen: [],
    deny(summary) {
      denied.push(summary);
      for (const response of waiting) {
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ decisions: [summary] }));
      }
      waiting.clear();
    },
    tokenSeconds: 300,
    nonce: "nonce-1",
    proofTargets: [],
    targets: [{ name: "billing", kind: "http", hosts: ["billing.internal"] }],
    ended: false,
    suspended: false,
    count: (path) => broker.seen.filter((each) => each.path === path).length,
    loseAnswers: (path, times) => void lost.set(path, times),
    refuse: (path, status, code, description) => void refusals.set(path, { status, code, description }),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return broker;
}

/** A credential of the job at the gateway jobs, as it was asked for. */
function nats(body: string): Answer {
  const { form, target = "events", gateway = "jobs" } = JSON.parse(body) as Readonly<Record<string, string>>;
  const secret = form === "creds" ? { creds: fakeCreds } : { password: fakePassword };
  const place = { target, gateway, account: "CI", inbox: "_INBOX_0123456789abcdef" };
  const expires_at = "2099-01-01T10:30:00.000Z";
  return { status: 200, body: { url: "nats://127.0.0.1:4222", user: target, ...secret, ...place, expires_at } };
}

export const fakePassword = "wln_abc-DEF_123.xyz";
export const fakeCreds = "-----BEGIN NATS USER JWT-----\neyJ.eyJ.sig\n------END NATS USER JWT------\n";

interface Answer {
  readonly status: number;
  readonly body?: unknown;
}

function oauth(status: number, code: string, description: string): Answer {
  return { status, body: { error: "invalid_request", error_description: description, code, detail: description } };
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** Checks a DPoP proof by the RFC, by hand, so that a mistake in our own client cannot hide in a shared library. */
function proofKey(
  dpop: unknown,
  request: { readonly method: string; readonly url: string; readonly presented: string | undefined },
  used: Set<string>,
): string | undefined {
  if (typeof dpop !== "string") return undefined;
  const [header = "", payload = "", signature = ""] = dpop.split(".");
  const head = decode(header) as { typ?: string; alg?: string; jwk?: JsonWebKey };
  const claims = decode(payload) as { jti: string; htm: string; htu: string; iat: number; ath?: string };
  if (head.typ !== "dpop+jwt" || head.alg !== "ES256" || head.jwk === undefined || "d" in head.jwk) return undefined;
  const key = { key: createPublicKey({ key: head.jwk, format: "jwk" }), dsaEncoding: "ieee-p1363" } as const;
  const signed = verify("sha256", Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, "base64url"));
  const { method, url, presented } = request;
  const ath = presented === undefined ? undefined : createHash("sha256").update(presented).digest("base64url");
  const asked = claims.htm === method && claims.htu === url && ath === claims.ath;
  if (!signed || !asked || used.has(claims.jti)) return undefined;
  used.add(claims.jti);
  const { crv, kty, x, y } = head.jwk;
  return createHash("sha256").update(JSON.stringify({ crv, kty, x, y })).digest("base64url");
}

function nonceOf(dpop: string): string | undefined {
  return (decode(dpop.split(".")[1] ?? "") as { nonce?: string }).nonce;
}

function decode(part: string): unknown {
  return JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
}
