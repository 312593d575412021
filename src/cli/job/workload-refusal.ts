import { asWayleaveError } from "../../core/errors.ts";
import { GrpcError, grpcStatus } from "../../grpc/status.ts";

/**
 * An error in the words of the Workload API: no answer is Unavailable, every refusal PermissionDenied. Faults stay as they are.
 *
 * @see https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md#6-error-codes
 */
function inItsWords(error: unknown): unknown {
  const known = asWayleaveError(error);
  if (error instanceof GrpcError || known.code === "internal") return error;
  const status = known.wire.exit === 5 ? grpcStatus.unavailable : grpcStatus.permissionDenied;
  return new GrpcError(status, `${known.code}: ${known.message}`);
}

/** What `work` gives, its errors in the words of the Workload API. */
export async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw inItsWords(error);
  }
}

/** As `refusing`, for what need not be waited for. */
export function refusingNow<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw inItsWords(error);
  }
}
