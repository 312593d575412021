import { EventEmitter, once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { vocabulary } from "../src/ci/providers.ts";
import type { AuditEvent } from "../src/core/record.ts";
import type { SessionView } from "../src/core/session.ts";
import { createDecisionPoint, type TokenVerdict } from "../src/gateway/decision-point.ts";
import { createLimits } from "../src/gateway/limits.ts";
import type { ExchangeEnd } from "../src/gateway/proxy/exchange.ts";
import { createProxyGateway, type ProxyGateway } from "../src/gateway/proxy/gateway.ts";
import type { Change } from "../src/gateway/proxy/open-exchanges.ts";
import type { ProxyHttpTarget, ProxyLimits, ProxySettings } from "../src/gateway/proxy/settings.ts";
import { compile } from "../src/policy/compile.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { job, session } from "../src/policy/policy.fake.ts";
import type { Policy } from "../src/policy/policy.ts";

/** A proxy over a real decision point and policy, with sessions that the test changes. */
export interface ProxyLab {
  readonly port: number;
  readonly proxy: ProxyGateway;
  readonly records: AuditEvent[];
  readonly faults: unknown[];
  readonly ends: ExchangeEnd[];
  /** Opens a session; its token is `Bearer <name>`. */
  open(name: string, change?: Partial<SessionView>): void;
  /** Ends, suspends or changes a session, and tells the proxy. */
  change(name: string, change: Partial<SessionView>): void;
  revoke(name: string): void;
  /** Puts another policy in force, given what `readPolicy` takes. */
  replace(text: string): void;
  readonly policy: () => Policy;
  close(): Promise<void>;
}

export interface ProxyLabOptions {
  /** Targets and roles as YAML; selector `shop` is the lab's jobs. */
  readonly policy: string;
  readonly targets: ProxySettings["targets"];
  readonly limits?: Partial<ProxyLimits>;
  readonly tls?: ProxySettings["tls"];
}

export const labLimits: ProxyLimits = {
  connectMs: 1_000,
  answerMs: 1_000,
  exchangeMs: 5_000,
  maxBytes: 1_000_000,
  drainMs: 2_000,
};

/** A target `name` whose service listens on loopback. */
export function httpTarget(name: string, port: number, change: Partial<ProxyHttpTarget> = {}): ProxyHttpTarget {
  return {
    kind: "http",
    name,
    upstream: { protocol: "http1", host: "127.0.0.1", port },
    credentialHeader: "authorization",
    ...change,
  };
}

function readPolicy(text: string): Policy {
  const whole = `version: 1\nwho:\n  shop: { gitlab: { project: acme/shop } }\n${text}`;
  const { model, diagnostics } = parsePolicy({
    files: [{ name: "policy.yaml", text: whole }],
    vocabulary,
    issuers: [{ name: "gitlab", type: "gitlab" }],
  });
  if (model === undefined) throw new TypeError(JSON.stringify(diagnostics));
  return compile(model, vocabulary);
}

const clock = { now: () => Date.now(), monotonic: () => performance.now() };

/** What a proxy asks, in memory. */
function labWorld(text: string) {
  const sessions = new Map<string, SessionView>();
  const revoked = new Set<string>();
  const records: AuditEvent[] = [];
  const faults: unknown[] = [];
  const ends: ExchangeEnd[] = [];
  const changes = new EventEmitter<{ change: [Change] }>();
  let policy = readPolicy(text);
  const token = (bearer: string): TokenVerdict =>
    sessions.has(`ses_${bearer}`)
      ? { state: "valid", token: { jti: bearer, sessionId: `ses_${bearer}`, narrowing: {} } }
      : { state: bearer === "ours" ? "ours" : "foreign" };
  const point = createDecisionPoint({
    clock,
    recorder: {
      note: (event) => `rec_${String(records.push(event)).padStart(12, "0")}`,
      settled: async () => undefined,
    },
    limits: createLimits(clock),
    durableBeforeAnswer: false,
    policy: () => policy,
    session: (name) => {
      const view = sessions.get(name);
      return view === undefined ? undefined : { view, facts: {} };
    },
    revoked: (jti) => revoked.has(jti),
    token,
    assertion: async () => ({ state: "ours" }),
    prove: async () => undefined,
    subject: () => "spiffe://acme.example/ci/gitlab/1042",
    fingerprint: () => "fp_0",
    passesOn: () => false,
    newTraceparent: () => `00-${"1".repeat(32)}-${"2".repeat(16)}-01`,
    onFault: (error) => void faults.push(error),
    mintAssertion: async () => "eyJ0.eyJ0.c2ln",
  });
  const replace = (next: string): void => {
    policy = readPolicy(next);
  };
  return { sessions, revoked, records, faults, ends, changes, point, replace, policy: () => policy };
}

export async function startProxyLab(options: ProxyLabOptions): Promise<ProxyLab> {
  const world = labWorld(options.policy);
  const { sessions, changes, policy, point, faults } = world;
  const proxy = createProxyGateway({
    settings: {
      name: "front",
      listen: { host: "127.0.0.1", port: 0 },
      ...(options.tls === undefined ? {} : { tls: options.tls }),
      targets: options.targets,
      limits: { ...labLimits, ...options.limits },
    },
    ...{ clock, point, policy },
    hardEndAt: (name) => sessions.get(name)?.hardEndAt,
    watch(listener) {
      changes.on("change", listener);
      return () => changes.off("change", listener);
    },
    closed: (end) => void world.ends.push(end),
    onFault: (error) => void faults.push(error),
  });
  return {
    ...{ proxy, ends: world.ends, policy, faults, records: world.records, replace: world.replace },
    port: await proxy.listen(),
    open(name, changed) {
      const view = session(job(), { openedAt: clock.now(), hardEndAt: clock.now() + 3_600_000 });
      sessions.set(`ses_${name}`, { ...view, id: `ses_${name}`, ...changed });
    },
    change(name, changed) {
      const view = sessions.get(`ses_${name}`);
      if (view === undefined) throw new TypeError(`no session ${name}`);
      sessions.set(view.id, { ...view, ...changed });
      changes.emit("change", { session: view.id });
    },
    revoke(name) {
      world.revoked.add(name);
      changes.emit("change", { revoked: name });
    },
    close: () => proxy.close(),
  };
}

/** What a service behind the proxy was asked, as its own parser read it. */
export interface Served {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
}

export interface LabService {
  readonly port: number;
  readonly server: Server;
  readonly served: Served[];
  close(): Promise<void>;
}

/** A service that notes what it serves, and answers 200 where the test does not say otherwise. */
export async function startService(answer?: RequestListener): Promise<LabService> {
  const served: Served[] = [];
  const server = createServer((request, response) => {
    const { method = "", url = "", rawHeaders } = request;
    served.push({ method, url, rawHeaders });
    if (answer !== undefined) return answer(request, response);
    request.resume();
    response.end("served\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    server,
    served,
    async close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** How long nothing more comes once all was answered, ms. */
const silenceMs = 40;

/** Sends bytes, one character each; gives all that came back until the other side closed, or said nothing more. */
export function sendRaw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect({ port, host: "127.0.0.1" }, () => socket.write(Buffer.from(bytes, "latin1")));
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      answer += text;
      socket.setTimeout(silenceMs);
    });
    socket.on("timeout", () => socket.destroy());
    socket.on("error", () => undefined); // a reset is an answer too: what came before it counts
    socket.on("close", () => resolve(answer));
  });
}
