import type { TargetKind } from "../core/target.ts";
import { type Parsed, parsed, refused } from "./findings.ts";
import type { OperationShape } from "./parse-operation.ts";

const maxLength = 512;
/** `package.Service/Method`, the package being optional, or `package.Service/*`. */
const form = /^((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)\/([A-Za-z_]\w*|\*)$/;

/**
 * A method of gRPC as the request that every gateway sees: `POST /package.Service/Method` (gRPC over HTTP/2). Codes:
 * `operation_invalid`, `operation_wrong_kind`.
 */
export function parseGrpcMethod(source: string, kind: TargetKind, stream: boolean): Parsed<OperationShape> {
  if (kind !== "http" && kind !== "mesh") {
    return refused("operation_wrong_kind", `${kind} targets have no gRPC methods`, 0, source.length, "leave grpc out");
  }
  const [, service, method] = source.length > maxLength ? [] : (form.exec(source) ?? []);
  if (service === undefined || method === undefined) {
    const help = "package.Service/Method, or package.Service/* for every method of the service";
    return refused("operation_invalid", "this is not a gRPC service and method", 0, source.length, help);
  }
  return parsed({
    kind: "http",
    pattern: {
      method: "POST",
      segments: [
        { kind: "literal", text: service },
        method === "*" ? { kind: "glob", parts: ["", ""] } : { kind: "literal", text: method },
      ],
      stream,
      source: `POST /${service}/${method}`,
    },
  });
}
