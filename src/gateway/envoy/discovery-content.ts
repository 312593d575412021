import { create, fromJson, type JsonObject, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { WayleaveError } from "../../core/errors.ts";
import { TypedExtensionConfigSchema } from "../../proto/envoy/config/core/v3/extension_pb.ts";
import { refusalsRegistry } from "./refusals-registry.ts";

/** The one type that is served. */
export const typeUrl = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/** A `TypedExtensionConfig` in both forms that discovery speaks, to be named as it is asked for. */
export interface RefusalsContent {
  /** For REST and files, `@type` included. */
  json(name: string): JsonObject;
  /** For gRPC. */
  any(name: string): Any;
}

/**
 * The content from its JSON form, which is the one truth: what gRPC sends is encoded from it. Throws `internal` for a
 * type or a field that `proto/` does not have.
 */
export function refusalsContent(config: JsonObject): RefusalsContent {
  const typedConfig = encode(config.typed_config);
  let last: { readonly name: string; readonly any: Any } | undefined;
  return {
    json: (name) => ({ ...config, "@type": typeUrl, name }),
    any(name) {
      // The many Envoys of one gateway ask for one name.
      if (last?.name !== name) last = { name, any: pack(name, typedConfig) };
      return last.any;
    },
  };
}

function pack(name: string, typedConfig: Any): Any {
  const named = create(TypedExtensionConfigSchema, { name, typedConfig });
  return create(AnySchema, { typeUrl, value: toBinary(TypedExtensionConfigSchema, named) });
}

function encode(typedConfig: JsonObject[string] | undefined): Any {
  try {
    return fromJson(AnySchema, typedConfig ?? null, { registry: refusalsRegistry });
  } catch (cause) {
    throw new WayleaveError("internal", "The refusals cannot be encoded for Envoy.", { cause });
  }
}
