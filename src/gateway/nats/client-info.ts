/** What the gateway says of itself to a client, before anything else. */
export interface ClientInfo {
  /** The gateway's name. */
  readonly name: string;
  /** Random, the same for all clients of this process. */
  readonly serverId: string;
  /** The version of the servers behind, as far as it is known: clients tell by it what they may ask for. */
  readonly version: string;
  readonly host: string;
  readonly port: number;
  readonly maxPayload: number;
  readonly nonce: string;
  readonly tls: boolean;
  /** The server is about to go. */
  readonly ldm?: boolean;
}

/**
 * The INFO line of the gateway. It says nothing of the servers behind: no addresses, no cluster, no keys, no nonce of
 * theirs, so that no client learns of a way past the gateway.
 */
export function infoLine(info: ClientInfo): string {
  const { name, serverId, version, host, port, maxPayload, nonce, tls, ldm } = info;
  return `INFO ${JSON.stringify({
    server_id: serverId,
    server_name: name,
    version,
    proto: 1,
    host,
    port,
    headers: true,
    max_payload: maxPayload,
    auth_required: true,
    nonce,
    ...(tls ? { tls_required: true } : {}),
    ...(ldm === true ? { ldm: true } : {}),
  })}\r\n`;
}
