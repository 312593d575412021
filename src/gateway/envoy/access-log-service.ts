import { create } from "@bufbuild/protobuf";
import { WayleaveError } from "../../core/errors.ts";
import { type GrpcCall, type GrpcMethods, stream } from "../../grpc/method.ts";
import type { HTTPAccessLogEntry } from "../../proto/envoy/data/accesslog/v3/accesslog_pb.ts";
import {
  type StreamAccessLogsMessage,
  StreamAccessLogsMessageSchema,
  StreamAccessLogsResponseSchema,
} from "../../proto/envoy/service/accesslog/v3/als_pb.ts";
import type { EvidenceGateway, ReadLine } from "../evidence.ts";
import { metadataNamespaces, readEnvoyEntry } from "./access-log.ts";

export interface AccessLogServiceDeps {
  /** The gateway that a name and a secret prove, or undefined. */
  gateway(name: string | undefined, secret: string | undefined): EvidenceGateway | undefined;
  /** Resolves when they are recorded; rejects `journal_unavailable`. */
  take(gateway: EvidenceGateway, entries: readonly ReadLine[]): Promise<unknown>;
  onUnauthenticated(detail: string): void;
}

const maxMessageBytes = 1024 * 1024;

/**
 * `envoy.service.accesslog.v3.AccessLogService`: an Envoy's own story of each request, as it ends. The gateway is who proves
 * itself by its metadata; the node that the first message names changes nothing. Envoy keeps nothing it has sent: entries
 * that cannot be recorded end the stream, and the next one goes on with what comes later.
 */
export function accessLogMethods(deps: AccessLogServiceDeps): GrpcMethods {
  async function* receive(requests: AsyncIterable<StreamAccessLogsMessage>, call: GrpcCall) {
    const gateway = deps.gateway(
      call.metadata.get("x-wayleave-gateway"),
      call.metadata.get("x-wayleave-gateway-secret"),
    );
    if (gateway === undefined) {
      deps.onUnauthenticated("an access log was streamed by nobody we know");
      throw new WayleaveError(
        "gateway_unauthenticated",
        "Unknown gateway or wrong secret: its x-wayleave-gateway and x-wayleave-gateway-secret are not of the inventory.",
      );
    }
    for await (const { logEntries } of requests) {
      if (logEntries.case !== "httpLogs") continue;
      const finished = logEntries.value.logEntry.filter(isFinished);
      await deps.take(
        gateway,
        finished.map((entry) => readHttpEntry(entry, gateway)),
      );
    }
    yield create(StreamAccessLogsResponseSchema);
  }
  return {
    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs": stream(
      StreamAccessLogsMessageSchema,
      StreamAccessLogsResponseSchema,
      receive,
      { maxBytes: maxMessageBytes },
    ),
  };
}

/** Long requests may be logged while they last; only the end of one says how it went. */
function isFinished({ commonProperties }: HTTPAccessLogEntry): boolean {
  if (commonProperties?.intermediateLogEntry) return false;
  const type = commonProperties?.accessLogType ?? 0;
  return type === 0 || type === downstreamEnd;
}

const downstreamEnd = 6;

/** `envoy.config.core.v3.RequestMethod`. */
const methods = ["", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

function readHttpEntry(
  { commonProperties, request, response }: HTTPAccessLogEntry,
  gateway: EvidenceGateway,
): ReadLine {
  const metadata = commonProperties?.metadata?.filterMetadata ?? {};
  const start = commonProperties?.startTime;
  const duration = commonProperties?.duration;
  const names = commonProperties?.tlsProperties?.peerCertificateProperties?.subjectAltName ?? [];
  return readEnvoyEntry(
    {
      at: start === undefined ? undefined : Number(start.seconds) * 1000 + Math.floor(start.nanos / 1e6),
      method: methods[request?.requestMethod ?? 0],
      host: request?.authority,
      path: request?.path,
      status: response?.responseCode ?? 0,
      details: response?.responseCodeDetails,
      peer: names.find(({ san }) => san.case === "uri")?.san.value,
      seconds: duration === undefined ? undefined : Number(duration.seconds) + duration.nanos / 1e9,
      traceparent: request?.requestHeaders.traceparent,
      route: commonProperties?.routeName,
      authz: metadata[metadataNamespaces.authz],
      jwt: metadata[metadataNamespaces.jwt],
    },
    gateway,
  );
}
