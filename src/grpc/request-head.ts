import type { IncomingHttpHeaders } from "node:http2";
import { GrpcError, grpcStatus } from "./status.ts";

/** An HTTP answer to what is no gRPC request at all. */
export interface NotGrpc {
  readonly status: 405 | 415;
}

/** Whether the request speaks gRPC (gRPC over HTTP/2, Requests); the path is not looked at. */
export function notGrpc(headers: IncomingHttpHeaders): NotGrpc | undefined {
  if (headers[":method"] !== "POST") return { status: 405 };
  const type = headers["content-type"];
  return type === "application/grpc" || (type !== undefined && contentType.test(type)) ? undefined : { status: 415 };
}

const contentType = /^application\/grpc(?:\+proto)?(?:[\t ]*;.*)?$/i;

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** Longest time a timer can wait, ms. */
const maxTimerMs = 2 ** 31 - 1;

/** `grpc-timeout` in ms, rounded up, or undefined where there is none. Throws `GrpcError` for one that cannot be read. */
export function timeoutMs(headers: IncomingHttpHeaders): number | undefined {
  const text = headers["grpc-timeout"];
  if (text === undefined) return undefined;
  const [, digits, unit = ""] = typeof text === "string" ? (/^(\d{1,8})([HMSmun])$/.exec(text) ?? []) : [];
  if (digits === undefined) throw new GrpcError(grpcStatus.internal, "grpc-timeout is malformed");
  return Math.min(Math.ceil(Number(digits) * (unitMs[unit] ?? 0)), maxTimerMs);
}
