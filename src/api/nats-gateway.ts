import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type {
  Admission,
  AdmissionRequest,
  ServerTotals,
  UpstreamGreeting,
  UpstreamPass,
} from "../gateway/nats/ports.ts";
import { problem } from "./problem.ts";

/**
 * For NATS gateways that are processes of their own, by `X-Wayleave-Gateway` and `X-Wayleave-Gateway-Secret`:
 *   GET  /v1/gateway/nats/settings    what the inventory says of it
 *   POST /v1/gateway/nats/admissions  {presented, from, client} → Admission
 *   POST /v1/gateway/nats/passes      {connection, upstream} → UpstreamPass
 *   POST /v1/gateway/nats/records     {run, events: [{n, event}]} → {taken}: answered once all of them are durable
 *   GET  /v1/gateway/nats/feed        newline-delimited JSON: a snapshot, then changes, and a line a second
 *   POST /v1/gateway/nats/kick        {serverId, cid} → {answered}
 *   POST /v1/gateway/nats/totals      {serverId, cid, timeoutMs} → {totals?}
 * Both ends are this program, so names are those of its types; `settings.protocol` says which.
 */
export interface NatsGatewayRouteDeps {
  /** What serves the gateway that a name and a secret prove; undefined for everybody else. */
  gateway(name: string | undefined, secret: string | undefined): NatsGatewayDesk | undefined;
  /** Told of callers that proved nothing. */
  onUnauthenticated(detail: string): void;
}

/** One gateway, as the broker serves it. Each method throws as `NatsAuthority` and `ServerControl` do. */
export interface NatsGatewayDesk {
  settings(): NatsGatewaySettings;
  admit(request: Omit<AdmissionRequest, "gateway">): Promise<Admission>;
  attach(connection: string, upstream: UpstreamGreeting): Promise<UpstreamPass>;
  take(run: string, events: readonly { readonly n: number; readonly event: unknown }[]): Promise<number>;
  /** Calls `send` with each line of the feed. Returns how to stop. */
  follow(send: (line: object) => void): () => void;
  kick(serverId: string, cid: number): Promise<boolean>;
  totals(serverId: string, cid: number, timeoutMs: number): Promise<ServerTotals | undefined>;
}

/** The gateway's place in the inventory: what it need not be told twice. */
export interface NatsGatewaySettings {
  readonly protocol: typeof natsGatewayProtocol;
  readonly listen: { readonly host: string; readonly port: number };
  readonly servers: readonly { readonly host: string; readonly port: number; readonly tls: boolean }[];
  /** PEM certificates that sign the servers', beside the system's. */
  readonly serverCa?: string;
}

/** Grows when what both say to each other changes. */
export const natsGatewayProtocol = 1;

/** The most that is taken at a time. */
const maxRecordsBytes = 4 * 1024 * 1024;

const text = (max: number) => z.string().max(max);
const label = text(256).exactOptional();
export const AdmissionsBody = z.strictObject({
  presented: z.strictObject({
    secret: text(32 * 1024),
    proof: z.strictObject({ nonce: text(256), signature: text(256) }).exactOptional(),
    user: text(256).exactOptional(),
  }),
  from: text(128),
  client: z.strictObject({ name: label, lang: label, version: label }),
});
const serverId = z.string().min(1).max(128);
const cid = z.int().min(0);
export const PassesBody = z.strictObject({
  connection: text(64),
  upstream: z.strictObject({ serverId, cid, version: text(64), nonce: text(256) }),
});
export const RecordsBody = z.strictObject({
  run: z.string().regex(/^[\w-]{8,64}$/),
  events: z.array(z.strictObject({ n: z.int().min(1), event: z.unknown() })).max(10_000),
});
export const KickBody = z.strictObject({ serverId, cid });
export const TotalsBody = z.strictObject({ serverId, cid, timeoutMs: z.int().min(0).max(20_000) });

/** Routes of the public listener for NATS gateways of their own process. */
export function natsGatewayRoutes(deps: NatsGatewayRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    const desks = new WeakMap<FastifyRequest, NatsGatewayDesk>();
    // Before the body is read.
    app.addHook("onRequest", async (request, reply) => {
      desks.set(request, proven(deps, request));
      reply.header("cache-control", "no-store");
    });
    const desk = (request: FastifyRequest): NatsGatewayDesk => {
      const found = desks.get(request);
      if (found === undefined) throw new TypeError("onRequest runs first");
      return found;
    };

    app.get("/v1/gateway/nats/settings", async (request) => desk(request).settings());
    app.post("/v1/gateway/nats/admissions", async (request) => desk(request).admit(parse(AdmissionsBody, request)));
    app.post("/v1/gateway/nats/passes", async (request) => {
      const { connection, upstream } = parse(PassesBody, request);
      return desk(request).attach(connection, upstream);
    });
    app.post("/v1/gateway/nats/records", { bodyLimit: maxRecordsBytes }, async (request) => {
      const { run, events } = parse(RecordsBody, request);
      return { taken: await desk(request).take(run, events) };
    });
    app.post("/v1/gateway/nats/kick", async (request) => {
      const asked = parse(KickBody, request);
      return { answered: await desk(request).kick(asked.serverId, asked.cid) };
    });
    app.post("/v1/gateway/nats/totals", async (request) => {
      const asked = parse(TotalsBody, request);
      const totals = await desk(request).totals(asked.serverId, asked.cid, asked.timeoutMs);
      return totals === undefined ? {} : { totals };
    });
    feedRoute(app, desk);
  };
}

/** A gateway that lets so much pile up is let go: it asks again, and gets a snapshot. */
const maxBacklogBytes = 32 * 1024 * 1024;

function feedRoute(app: FastifyInstance, desk: (request: FastifyRequest) => NatsGatewayDesk): void {
  app.get("/v1/gateway/nats/feed", async (request, reply) => {
    const at = desk(request);
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
    let stop: (() => void) | undefined;
    // What cannot be sent ends the feed: a follower that hears nothing believes nothing.
    const close = (): void => {
      stop?.();
      raw.destroy();
    };
    raw.on("error", close).on("close", close);
    try {
      stop = at.follow((line) => {
        if (raw.writableLength > maxBacklogBytes) close();
        else raw.write(`${JSON.stringify(line)}\n`);
      });
      if (raw.destroyed) stop();
    } catch (error) {
      request.log.error({ err: error }, "a NATS gateway's feed could not be begun");
      close();
    }
  });
}

function proven(deps: NatsGatewayRouteDeps, { headers }: FastifyRequest): NatsGatewayDesk {
  const found = deps.gateway(one(headers["x-wayleave-gateway"]), one(headers["x-wayleave-gateway-secret"]));
  if (found !== undefined) return found;
  deps.onUnauthenticated("a NATS gateway's question came from nobody we know");
  throw new WayleaveError(
    "gateway_unauthenticated",
    "Unknown gateway or wrong secret, or its inventory entry does not say `kind: nats` and `standalone: true`.",
  );
}

function parse<T>(schema: z.ZodType<T>, { body }: FastifyRequest): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new WayleaveError(
    "invalid_request",
    `${issue?.path.join(".") || "request"}: ${issue?.message ?? "not understood"}`,
  );
}

/** A repeated header proves nothing. */
function one(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
