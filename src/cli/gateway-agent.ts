import { Agent, request } from "undici";
import { errorCodes, WayleaveError } from "../core/errors.ts";
import type { FileTaken } from "../gateway/file-lines.ts";
import type { TailPiece } from "./gateway-log-tail.ts";

/** A gateway as it proves itself to the broker. */
export interface GatewayCredential {
  readonly name: string;
  readonly secret: string;
  /** Without final slash. */
  readonly brokerUrl: string;
  readonly ca: readonly string[] | undefined;
}

/** The broker, as an agent beside a gateway talks to it. */
export interface GatewayAgent {
  /** Rejects `broker_unreachable` where there is no answer, and with the broker's own code where it refuses. */
  send(piece: TailPiece): Promise<FileTaken>;
  /** The refusals for these names as discovery has them (REST); undefined where `version` is still the newest. */
  refusals(names: readonly string[], version: string): Promise<RefusalsDocument | undefined>;
  close(): Promise<void>;
}

export interface RefusalsDocument {
  readonly version_info: string;
  readonly type_url: string;
  readonly resources: readonly Readonly<Record<string, unknown>>[];
}

const timeoutMs = 20_000;

export function gatewayAgent({ name, secret, brokerUrl, ca }: GatewayCredential): GatewayAgent {
  const dispatcher = new Agent({
    allowH2: false,
    connect: { timeout: 5_000, ...(ca === undefined ? {} : { ca: [...ca] }) },
  });
  const post = async (path: string, type: string, body: string | Buffer) => {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const response = await request(`${brokerUrl}${path}`, {
        dispatcher,
        method: "POST",
        headers: { "content-type": type, "x-wayleave-gateway": name, "x-wayleave-gateway-secret": secret },
        body,
        signal,
      });
      return { status: response.statusCode, text: await response.body.text() };
    } catch {
      // No cause is kept: an error about a header can quote the header.
      throw new WayleaveError("broker_unreachable", `The broker at ${brokerUrl} gives no answer; it is asked again.`);
    }
  };
  return {
    async send({ file, offset, bytes }) {
      const query = new URLSearchParams({ file, offset: String(offset) }).toString();
      const { status, text } = await post(`/v1/gateway/log?${query}`, "application/x-ndjson", bytes);
      if (status !== 200) throw refused(status, text);
      return JSON.parse(text) as FileTaken;
    },
    async refusals(names, version) {
      const body = JSON.stringify({
        version_info: version,
        node: { id: `follow:${name}` },
        resource_names: names,
        type_url: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
      });
      const { status, text } = await post("/v3/discovery:extension_configs", "application/json", body);
      if (status === 304) return undefined;
      if (status !== 200) throw refused(status, text);
      return JSON.parse(text) as RefusalsDocument;
    },
    close: () => dispatcher.destroy(),
  };
}

function refused(status: number, text: string): WayleaveError {
  let body: { readonly code?: unknown; readonly detail?: unknown } = {};
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    // not a problem document: told by its status
  }
  const code = errorCodes.find((known) => known === body.code);
  if (code !== undefined && typeof body.detail === "string") return new WayleaveError(code, body.detail);
  const detail = `The broker answered HTTP ${status}, which is none of its own answers; check the broker's URL.`;
  return new WayleaveError(status >= 500 ? "broker_unreachable" : "invalid_request", detail);
}
