import { checkServerIdentity, connect, type PeerCertificate, type TLSSocket } from "node:tls";
import type { ProxyUpstream, UpstreamTls } from "./settings.ts";

/** The service did not show in time, or not at all, that it is itself. */
export class UpstreamConnectError extends Error {
  override readonly name = "UpstreamConnectError";
}

/**
 * A TLS connection to a service whose certificate is signed by who we trust, and names the host or is the one SPIFFE ID that
 * is expected. What the client's request says has no part in it. Calls back once; errors are `UpstreamConnectError`.
 */
export function connectTls(
  upstream: ProxyUpstream & { readonly tls: UpstreamTls },
  protocol: "http/1.1" | "h2",
  timeoutMs: number,
  then: (error: UpstreamConnectError | null, socket: TLSSocket | null) => void,
): void {
  const { host, port, tls } = upstream;
  const { ca, serverName, spiffeId } = tls;
  const expected = serverName ?? host;
  const socket = connect({
    host,
    port,
    // No name is sent where the service is known by its SPIFFE ID, and none for an address (RFC 6066 §3).
    ...(spiffeId !== undefined || /^[\d.]+$|:/.test(expected) ? {} : { servername: expected }),
    ALPNProtocols: [protocol],
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
    ...(ca === undefined ? {} : { ca: [...ca] }),
    checkServerIdentity: (_name, certificate) =>
      spiffeId === undefined ? checkServerIdentity(expected, certificate) : impostor(certificate, spiffeId),
  });
  const timer = setTimeout(() => socket.destroy(new Error("no connection in time")), timeoutMs);
  const settle = (error: UpstreamConnectError | null): void => {
    clearTimeout(timer);
    socket.off("error", failed);
    socket.off("secureConnect", connected);
    then(error, error === null ? socket : null);
  };
  const failed = (cause: Error): void => {
    socket.on("error", () => undefined);
    socket.destroy();
    settle(new UpstreamConnectError("no trusted connection", { cause }));
  };
  const connected = (): void => {
    // A service that was asked for HTTP/2 and says nothing would be spoken to in a language it may not know.
    if (protocol === "h2" && socket.alpnProtocol !== "h2") failed(new Error("the service does not speak HTTP/2"));
    else settle(null);
  };
  socket.once("error", failed);
  socket.once("secureConnect", connected);
}

/** An X.509-SVID has exactly one URI (X.509-SVID §2). */
function impostor({ subjectaltname = "" }: PeerCertificate, spiffeId: string): Error | undefined {
  const uris = subjectaltname.split(", ").filter((name) => name.startsWith("URI:"));
  if (uris.length === 1 && uris[0] === `URI:${spiffeId}`) return undefined;
  return new Error("the certificate is not the service's");
}
