import { createHash } from "node:crypto";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { GrpcCall, GrpcMethods } from "../../grpc/method.ts";
import type { HeaderValueOption } from "../../proto/envoy/config/core/v3/base_pb.ts";
import {
  CheckRequestSchema,
  type CheckResponse,
  CheckResponseSchema,
} from "../../proto/envoy/service/auth/v3/external_auth_pb.ts";
import type { Answer, DecisionPoint } from "../decision-point.ts";
import { createEnvoyCheck } from "./check.ts";
import type { Refusal } from "./check-answer.ts";

export const secret = "s3cret-of-edge-1";
export const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
const front = "spiffe://acme.example/gateway/edge-1";
const gateways = [
  { name: "edge-1", secretHashes: [hashOf("the one before"), hashOf(secret)], targets: ["billing"], peers: [] },
  { name: "edge-2", secretHashes: [hashOf("other")], targets: ["ledger"], peers: [] },
  { name: "inner", secretHashes: [hashOf(secret)], targets: ["billing"], peers: [front] },
];

/** An allowed answer, changed. */
export const answerOf = (partial: Partial<Answer> = {}): Answer => ({
  outcome: "allow",
  reason: "allowed",
  record: "rec_000000000001",
  traceparent: "00-11111111111111111111111111111111-2222222222222222-01",
  cacheSeconds: 0,
  consumesAuthorization: true,
  unauthenticated: false,
  ...partial,
});
export const always = (partial: Partial<Answer>): DecisionPoint => ({ answer: () => answerOf(partial) });

/** The check of three gateways before a decision point, and what it refused. */
export function checkOf(decisionPoint: DecisionPoint) {
  const refused: Refusal[] = [];
  const check = createEnvoyCheck({ decisionPoint, gateways, onRefused: (refusal) => refused.push(refusal) });
  return { ...check, refused };
}

export type Lines = readonly (readonly [name: string, value: string])[];

export interface GrpcQuestion {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly target?: string;
  readonly principal?: string;
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** As the client sent them, after the pseudo-headers. */
  readonly headers?: Lines;
}

/** The request message that Envoy sends with `encode_raw_headers`. */
export function checkRequest(question: GrpcQuestion): MessageInitShape<typeof CheckRequestSchema> {
  const { method = "GET", path = "/v1/invoices?a=/../b", host = "billing.internal" } = question;
  const lines: Lines = [
    [":authority", host],
    [":path", path],
    [":method", method],
    [":scheme", "http"],
    ...(question.headers ?? [["authorization", "Bearer good"]]),
  ];
  return {
    attributes: {
      source: { principal: question.principal ?? "" },
      contextExtensions: { target: question.target ?? "billing" },
      request: {
        http: {
          method,
          path,
          host,
          headerMap: { headers: lines.map(([key, value]) => ({ key, rawValue: Buffer.from(value, "latin1") })) },
        },
      },
    },
  };
}

export const callOf = (metadata: Readonly<Record<string, string>> = {}): GrpcCall => ({
  metadata: new Map(
    Object.entries({ "x-wayleave-gateway": "edge-1", "x-wayleave-gateway-secret": secret, ...metadata }),
  ),
  peer: "127.0.0.1",
  signal: new AbortController().signal,
});

/** Through the wire form of question and answer. Throws what the method throws. */
export async function checkMessage(
  grpc: GrpcMethods,
  request: MessageInitShape<typeof CheckRequestSchema>,
  call: GrpcCall = callOf(),
): Promise<CheckResponse> {
  const method = grpc["/envoy.service.auth.v3.Authorization/Check"];
  if (method?.kind !== "unary") throw new TypeError("no Check");
  const bytes = toBinary(CheckRequestSchema, create(CheckRequestSchema, request));
  const response = await method.handle(method.read?.(bytes), call);
  if (!(response instanceof Uint8Array)) throw new TypeError("not encoded");
  return fromBinary(CheckResponseSchema, response);
}

export interface Said {
  /** 200 for a request that goes on. */
  readonly status: number;
  /** To the upstream, or in a denial to the client. */
  readonly headers: Readonly<Record<string, string>>;
  readonly remove: readonly string[];
  /** Parsed where it is a problem document. */
  readonly body: unknown;
  readonly metadata: unknown;
}

/** What Envoy makes of the answer to one question over gRPC. */
export async function askGrpc(decisionPoint: DecisionPoint, question: GrpcQuestion = {}): Promise<Said> {
  const response = await checkMessage(checkOf(decisionPoint).grpc, checkRequest(question), callOf(question.metadata));
  return said(response);
}

export function said({ status, httpResponse, dynamicMetadata: metadata }: CheckResponse): Said {
  const code = status?.code ?? 0;
  if (httpResponse.case === "okResponse" && code === 0) {
    const { headers, headersToRemove } = httpResponse.value;
    return { status: 200, headers: options(headers), remove: headersToRemove, body: undefined, metadata };
  }
  if (httpResponse.case !== "deniedResponse" || code === 0) throw new TypeError("the answer contradicts itself");
  const { headers, body, status: http } = httpResponse.value;
  return { status: http?.code ?? 0, headers: options(headers), remove: [], body: parsed(body), metadata };
}

const parsed = (body: string): unknown => (body.startsWith("{") ? JSON.parse(body) : body);

function options(headers: readonly HeaderValueOption[]) {
  if (headers.some(({ appendAction }) => appendAction !== 2)) throw new TypeError("a header that does not overwrite");
  const found = headers.map(({ header }) => [header?.key ?? "", header?.value ?? ""] as const);
  if (new Set(found.map(([name]) => name)).size < found.length) throw new TypeError("a header twice");
  return Object.fromEntries(found);
}

export interface HttpQuestion {
  readonly method?: string;
  readonly url?: string;
  /** What the gateway's configuration adds; `undefined` leaves one out. */
  readonly gateway?: Readonly<Record<string, string | undefined>>;
  readonly headers?: Lines;
}

/** What Envoy makes of the answer to one question over HTTP. */
export async function askHttp(decisionPoint: DecisionPoint, question: HttpQuestion = {}): Promise<Said> {
  const { method = "GET", url = "/authz/envoy/billing/v1/invoices?a=/../b" } = question;
  const added = { "x-wayleave-gateway": "edge-1", "x-wayleave-gateway-secret": secret, ...question.gateway };
  const lines: Lines = [
    ["host", "billing.internal"],
    ...(question.headers ?? ([["authorization", "Bearer good"]] as const)),
    ...Object.entries(added).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])),
  ];
  const { status, headers, body } = await checkOf(decisionPoint).http({ method, url, rawHeaders: lines.flat() });
  const found = Object.fromEntries(headers);
  if (Number(found["content-length"]) !== Buffer.byteLength(body ?? "")) throw new TypeError("a wrong Content-Length");
  const remove = found["x-envoy-auth-headers-to-remove"]?.split(",") ?? [];
  return { status, headers: found, remove, body: body === undefined ? undefined : parsed(body), metadata: {} };
}
