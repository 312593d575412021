import { accountsFile, trustFile } from "./render-files.ts";
import { type ConfEntry, entry, map } from "./server-conf.ts";
import type { CheckedSettings } from "./settings.ts";

/** nats-server's own default, and room for what the gateway adds to each message: who sent it. */
const maxPayload = 1_048_576 + 4096;

/** A whole configuration around the fragments, for a server that has none yet. One server; a cluster needs `cluster` and `server_name`. */
export function renderWhole(settings: CheckedSettings): ConfEntry[] {
  const { servers, certificate, authentication, jetstream, dataDirectory } = settings;
  const [first] = servers;
  const local = servers.every(({ host }) => isLoopback(host));
  return [
    entry("listen", `${local ? "127.0.0.1" : "0.0.0.0"}:${first?.port ?? 4222}`),
    ...(certificate === undefined
      ? []
      : [entry("tls", map(entry("cert_file", certificate.certFile), entry("key_file", certificate.keyFile)))]),
    entry("max_payload", maxPayload),
    ...(jetstream === false
      ? []
      : [
          { comment: "A message is on the disk before it is acknowledged." },
          entry("jetstream", map(entry("store_dir", `${dataDirectory}/jetstream`), entry("sync_interval", "always"))),
        ]),
    ...(authentication === "config" ? [entry("accounts", map({ include: accountsFile }))] : []),
    { include: trustFile },
  ];
}

/** True for addresses that do not leave the machine. */
export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|::1)$/.test(host);
