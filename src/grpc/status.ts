import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { asWayleaveError, WayleaveError } from "../core/errors.ts";
import { ErrorInfoSchema } from "../proto/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../proto/google/rpc/status_pb.ts";

/** The gRPC status codes (grpc/doc/statuscodes.md). */
export const grpcStatus = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

/** A refusal in gRPC's own words. Everything that has a Wayleave error code is a `WayleaveError` instead. */
export class GrpcError extends Error {
  override readonly name = "GrpcError";
  readonly status: number;

  /** @param message Shown to the caller, so it holds no secret. */
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A status as it goes out. */
export interface StatusLine {
  readonly code: number;
  readonly message: string;
  /** `google.rpc.Status` with its details, for `grpc-status-details-bin`. */
  readonly details?: Uint8Array;
}

/**
 * Any error as a gRPC status: the one conversion of this wire. A WayleaveError carries
 * `google.rpc.ErrorInfo{reason: <its code>, domain: "wayleave"}`; what is unknown becomes `internal` with a constant message.
 */
export function statusOf(error: unknown): StatusLine {
  if (error instanceof GrpcError) return { code: error.status, message: error.message };
  const known = asWayleaveError(error);
  const code = codeOf(known);
  const info = create(ErrorInfoSchema, { reason: known.code, domain: "wayleave" });
  const details = [anyPack(ErrorInfoSchema, info)];
  const status = create(StatusSchema, { code, message: known.message, details });
  return { code, message: known.message, details: toBinary(StatusSchema, status) };
}

/** True where the error is ours to mend and not the caller's: the log wants it. */
export function isFault(error: unknown): boolean {
  if (error instanceof GrpcError) return false;
  return !(error instanceof WayleaveError) || error.code === "internal";
}

const codeByHttp: Readonly<Record<number, number>> = {
  400: grpcStatus.invalidArgument,
  401: grpcStatus.unauthenticated,
  403: grpcStatus.permissionDenied,
  404: grpcStatus.notFound,
  409: grpcStatus.failedPrecondition,
  413: grpcStatus.resourceExhausted,
  422: grpcStatus.invalidArgument,
  500: grpcStatus.internal,
  503: grpcStatus.unavailable,
};

/** The HTTP status of the code's row says which gRPC status it is; who was not recognised is `unauthenticated`. */
function codeOf(error: WayleaveError): number {
  if (error.code === "gateway_unauthenticated") return grpcStatus.unauthenticated;
  return codeByHttp[error.wire.http] ?? grpcStatus.unknown;
}
