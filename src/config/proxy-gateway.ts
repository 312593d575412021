import { z } from "zod";
import { parseAddress } from "./address.ts";
import type { ProxyGatewayConfig, ProxyUpstreamConfig } from "./config.ts";
import type { KeyPath } from "./document.ts";
import { parseDuration } from "./duration.ts";
import { address, addressForm, describedFile, duration, secret, secretFile, Tls } from "./fields.ts";
import type { Reader } from "./reader.ts";

const header = (text: string) =>
  z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, "must be a header's name: letters, digits and -")
    .refine((name) => !reservedHeader.test(name), "must be a header that carries a credential and nothing else")
    .describe(text);

/** What frames a request, names its target, or is Wayleave's own word. */
const reservedHeader =
  /^(host|connection|upgrade|te|trailer|expect|cookie|keep-alive|traceparent|tracestate|txn-token|content-.*|transfer-encoding|proxy-.*|x-wayleave-.*|x-forwarded-.*|x-original-.*|sec-websocket-.*)$/i;

const upstreamForm = /^(http|https|h2|h2c):\/\//;

const Upstream = z.strictObject({
  url: z
    .string()
    .refine(
      (text) => upstreamForm.test(text) && addressForm.test(text.replace(upstreamForm, "")),
      "must be http://host:port or https://host:port; h2c:// or h2:// for a service that speaks HTTP/2",
    )
    .describe(
      "Where the service is: `http://host:port` or `https://host:port`; `h2c://` and `h2://` the same over HTTP/2, as gRPC needs it.",
    ),
  host: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, "must be a lower-case host without port")
    .describe("Host that jobs ask for it by. Default: the hosts that policy gives the target; a mesh target has none.")
    .optional(),
  ca_file: describedFile(
    "PEM certificates that sign the service's, instead of the system's. Default: the system's.",
  ).optional(),
  server_name: z
    .string()
    .min(1)
    .describe("Name that the service's certificate must carry. Default: the host of `url`.")
    .optional(),
  spiffe_id: z
    .string()
    .regex(/^spiffe:\/\/[a-z0-9._-]{1,255}(\/[A-Za-z0-9._-]+)+$/, "must be a SPIFFE ID with a path")
    .describe(
      "SPIFFE ID that the service's certificate must carry, whatever its names; needs `ca_file`. Default: none.",
    )
    .optional(),
  credential_header: header(
    "Header that the job's access token comes in, alone, where `Authorization` is the service's own. Default: Authorization, as `Bearer`.",
  ).optional(),
  upstream_auth: z
    .strictObject({
      header: header("Header that the service wants its key in. Default: Authorization.").optional(),
      scheme: z
        .string()
        .regex(/^[A-Za-z][A-Za-z0-9-]{0,31}$/, "must be one word, such as Bearer")
        .describe("Word in front of the key. Default: Bearer in `Authorization`, none elsewhere.")
        .optional(),
      key_file: secretFile("a key that the service wants and no job may hold"),
      key: secret("a key that the service wants and no job may hold", "key_file"),
    })
    .describe("A key of the service's own that the proxy adds to what a role allows. Default: none.")
    .optional(),
});

/** What a gateway of kind `proxy` says beside the inventory. */
export const proxyShape = {
  listen: address("Where jobs send their requests. Port 0 takes a free one. Default: 127.0.0.1:8780.").optional(),
  tls: Tls.describe("Certificate to serve HTTPS with. Default: plain, on loopback only.").optional(),
  upstreams: z
    .record(z.string(), Upstream)
    .describe("The service behind each http or mesh target; a tcp target has its address in policy. Default: none.")
    .optional(),
  connect_timeout: duration("Time to be connected to a service. Default: 5s.", { atMost: "1m" }).optional(),
  answer_timeout: duration("Time from a request's end to the head of its answer. Default: 1m.", {
    atMost: "1h",
  }).optional(),
  exchange_timeout: duration(
    "Time of a request and its answer as a whole, unless policy says `stream: true`. Default: 5m.",
    { atMost: "1h" },
  ).optional(),
  max_body: z
    .int()
    .min(1)
    .max(2 ** 40)
    .describe(
      "Bytes that a request's body, or its answer's, may have unless policy says `stream: true`. Default: 67108864.",
    )
    .optional(),
  drain_timeout: duration("Time that open requests have to finish when the proxy stops. Default: 10s.", {
    atMost: "10m",
  }).optional(),
};

type RawUpstream = z.infer<typeof Upstream>;
interface RawProxy {
  readonly listen?: string | undefined;
  readonly tls?: z.infer<typeof Tls> | undefined;
  readonly upstreams?: Readonly<Record<string, RawUpstream>> | undefined;
  readonly connect_timeout?: string | undefined;
  readonly answer_timeout?: string | undefined;
  readonly exchange_timeout?: string | undefined;
  readonly max_body?: number | undefined;
  readonly drain_timeout?: string | undefined;
}

/** The kind's own part with its defaults filled in. */
export function resolveProxy(gateway: RawProxy, path: KeyPath, read: Reader) {
  const { tls } = gateway;
  const ms = (text: string | undefined, byDefault: number): number =>
    text === undefined ? byDefault : (parseDuration(text) ?? 0);
  return {
    kind: "proxy",
    listen: parseAddress(gateway.listen ?? "127.0.0.1:8780"),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            cert: read.file(tls.cert_file, [...path, "tls", "cert_file"]) ?? "",
            key: read.file(tls.key_file, [...path, "tls", "key_file"]) ?? "",
          },
        }),
    upstreams: Object.fromEntries(
      Object.entries(gateway.upstreams ?? {}).map(([target, upstream]) => [
        target,
        upstreamOf(upstream, [...path, "upstreams", target], read),
      ]),
    ),
    limits: {
      connectMs: ms(gateway.connect_timeout, 5_000),
      answerMs: ms(gateway.answer_timeout, 60_000),
      exchangeMs: ms(gateway.exchange_timeout, 300_000),
      maxBytes: gateway.max_body ?? 64 * 1024 * 1024,
      drainMs: ms(gateway.drain_timeout, 10_000),
    },
  } as const satisfies Partial<ProxyGatewayConfig>;
}

function upstreamOf(upstream: RawUpstream, path: KeyPath, read: Reader): ProxyUpstreamConfig {
  const [scheme = "", text = ""] = upstream.url.split("://");
  const secured = scheme === "https" || scheme === "h2";
  const auth = authOf(upstream, path, read);
  return {
    ...parseAddress(text),
    protocol: scheme === "h2" || scheme === "h2c" ? "http2" : "http1",
    ...(secured ? { tls: tlsOf(upstream, path, read) } : {}),
    ...(upstream.host === undefined ? {} : { name: upstream.host }),
    credentialHeader: (upstream.credential_header ?? "Authorization").toLowerCase(),
    ...(auth === undefined ? {} : { auth }),
  };
}

function tlsOf(upstream: RawUpstream, path: KeyPath, read: Reader): NonNullable<ProxyUpstreamConfig["tls"]> {
  const { ca_file: file, server_name: serverName, spiffe_id: spiffeId } = upstream;
  const ca = file === undefined ? undefined : read.file(file, [...path, "ca_file"]);
  return {
    ...(ca === undefined ? {} : { ca: [ca] }),
    ...(serverName === undefined ? {} : { serverName }),
    ...(spiffeId === undefined ? {} : { spiffeId }),
  };
}

function authOf({ upstream_auth: auth }: RawUpstream, path: KeyPath, read: Reader): ProxyUpstreamConfig["auth"] {
  if (auth === undefined) return undefined;
  const header = (auth.header ?? "Authorization").toLowerCase();
  const word = auth.scheme ?? (header === "authorization" ? "Bearer" : undefined);
  const key = read.secret(auth, "key", [...path, "upstream_auth"]) ?? "";
  if (/[^\x21-\x7e]/.test(key)) {
    read.problem(
      "invalid_value",
      "the service's key holds what no header can",
      [...path, "upstream_auth"],
      "one line of visible ASCII",
    );
  }
  return { header, value: word === undefined ? key : `${word} ${key}` };
}
