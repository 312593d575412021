/** What of nats-server's INFO the gateway goes by. */
export interface ServerInfo {
  readonly serverId: string;
  /** Its number for the connection. */
  readonly cid: number;
  readonly version: string;
  readonly nonce: string;
  readonly maxPayload: number;
  readonly headers: boolean;
  readonly tlsRequired: boolean;
  /** It is about to go. */
  readonly ldm: boolean;
}

/** An INFO that can be understood, or undefined. What a server leaves out stands as in `before`: later ones are shorter. */
export function parseServerInfo(json: string, before?: ServerInfo): ServerInfo | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined; // a server that does not speak NATS
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  const text = (name: string, otherwise: string) => (typeof fields[name] === "string" ? fields[name] : otherwise);
  const flag = (name: string, otherwise: boolean) => (typeof fields[name] === "boolean" ? fields[name] : otherwise);
  const count = (name: string, otherwise: number) =>
    typeof fields[name] === "number" && Number.isSafeInteger(fields[name]) ? fields[name] : otherwise;
  return {
    serverId: before?.serverId ?? text("server_id", ""),
    cid: before?.cid ?? count("client_id", 0),
    version: before?.version ?? text("version", ""),
    nonce: before?.nonce ?? text("nonce", ""),
    maxPayload: count("max_payload", before?.maxPayload ?? 0),
    headers: flag("headers", before?.headers ?? false),
    tlsRequired: flag("tls_required", before?.tlsRequired ?? false),
    ldm: flag("ldm", false),
  };
}
