import { createRegistry, type Registry } from "@bufbuild/protobuf";
import { ActionSchema } from "../../proto/envoy/config/rbac/v3/rbac_pb.ts";
import { RBACSchema } from "../../proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { HttpRequestHeaderMatchInputSchema } from "../../proto/envoy/type/matcher/v3/http_inputs_pb.ts";
import { CelMatcherSchema } from "../../proto/xds/type/matcher/v3/cel_pb.ts";
import { HttpAttributesCelMatchInputSchema } from "../../proto/xds/type/matcher/v3/http_inputs_pb.ts";

/** Every message that stands in an `Any` of `refusalsConfig`: what encoding it for gRPC needs. */
export const refusalsRegistry: Registry = createRegistry(
  RBACSchema,
  ActionSchema,
  HttpRequestHeaderMatchInputSchema,
  HttpAttributesCelMatchInputSchema,
  CelMatcherSchema,
);
