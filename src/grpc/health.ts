import { create } from "@bufbuild/protobuf";
import { HealthCheckRequestSchema, HealthCheckResponseSchema } from "../proto/grpc/health/v1/health_pb.ts";
import { type GrpcMethods, unary } from "./method.ts";
import { GrpcError, grpcStatus } from "./status.ts";

const serving = 1;
const notServing = 2;

/**
 * `grpc.health.v1.Health/Check`, for the server as a whole (empty name) and each service that `methods` name. There is no
 * Watch: clients fall back to Check.
 */
export function healthMethods(methods: GrpcMethods, isServing: () => boolean): GrpcMethods {
  const services = new Set(["", ...Object.keys(methods).map((path) => path.split("/")[1] ?? "")]);
  return {
    "/grpc.health.v1.Health/Check": unary(HealthCheckRequestSchema, HealthCheckResponseSchema, ({ service }) => {
      if (!services.has(service)) throw new GrpcError(grpcStatus.notFound, "no such service here");
      return create(HealthCheckResponseSchema, { status: isServing() ? serving : notServing });
    }),
  };
}
