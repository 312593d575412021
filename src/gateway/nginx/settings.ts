import { WayleaveError } from "../../core/errors.ts";
import type { CompiledTarget, Policy } from "../../policy/policy.ts";
import { checkKeep, keptSeconds } from "./keep-settings.ts";

/** One NGINX of the inventory, as `render` needs it. Paths are absolute, on the machine that NGINX runs on. */
export interface NginxGatewaySettings {
  readonly name: string;
  /** Where NGINX reaches Wayleave: `http://127.0.0.1:8700`, `https://wayleave.internal`, `unix:/run/wayleave.sock`. */
  readonly brokerUrl: string;
  /** Certificates that sign an https broker's. */
  readonly brokerCa?: string;
  /** The 0600 file with the gateway's secret, made by `renderSecret`. */
  readonly secretFile: string;
  /** Targets it fronts. */
  readonly targets: readonly string[];
  /** Where the rendered files will lie. */
  readonly directory?: string;
  /** Where requests are logged as JSON. */
  readonly accessLog?: string;
  /** Turns the decision cache on: 1 or 2 seconds at most, whatever Wayleave marks. Needs `njs`. */
  readonly cacheSeconds?: number;
  readonly cachePath?: string;
  /** By target: the gateway behind this one, to which requests go on over mutual TLS with this gateway's SVID. */
  readonly behind?: Readonly<Record<string, string>>;
  /** This NGINX has the njs module loaded. */
  readonly njs?: boolean;
  /** Longest it may keep answers while the broker is away, ms, whatever its targets say. */
  readonly keepAtMostMs?: number;
  /** Where `wayleave breakglass serve` listens, which is asked while Wayleave gives no answer: `host:port`. */
  readonly breakglass?: string;
}

/** The settings, checked, with every default filled in. */
export interface CheckedSettings
  extends Required<Omit<NginxGatewaySettings, "targets" | "cacheSeconds" | "njs" | "keepAtMostMs" | "breakglass">> {
  readonly targets: readonly CompiledTarget[];
  readonly broker: Broker;
  readonly cached: boolean;
  /** Some target is kept during an outage. */
  readonly keeps: boolean;
  readonly keepAtMostMs?: number;
  readonly breakglass?: string;
}

export interface Broker {
  /** Argument of `server` in the upstream. */
  readonly address: string;
  readonly scheme: "http" | "https";
  /** Name the certificate is checked against; empty for a socket. */
  readonly host: string;
  /** The secret and the tokens travel unencrypted over a network. */
  readonly exposed: boolean;
}

/** Checks what the renderer relies on. Throws `render_refused`, naming the gateway and the one thing that is wrong. */
export function checkSettings(gateway: NginxGatewaySettings, policy: Policy): CheckedSettings {
  const refuse = (what: string): never => {
    throw new WayleaveError("render_refused", `Gateway ${gateway.name}: ${what}`);
  };
  if (!name.test(gateway.name)) refuse("its name must be letters, digits, - and _.");
  if (gateway.targets.length === 0) refuse("it fronts no target; list them under targets.");
  if (gateway.cacheSeconds !== undefined && ![1, 2].includes(gateway.cacheSeconds)) {
    refuse("a decision may be cached for 1 or 2 seconds, no longer; a session's end would be seen too late.");
  }
  if (gateway.cacheSeconds !== undefined && gateway.njs !== true) {
    refuse(
      "the decision cache needs the njs module to hash its key; load it and say njs: true, or leave the cache off.",
    );
  }
  const directory = gateway.directory ?? "/etc/nginx/wayleave";
  const targets = [...new Set(gateway.targets)]
    .toSorted()
    .map((target) => frontable(policy.targets.get(target), target, refuse));
  for (const target of targets) checkKeep(gateway, target);
  return {
    name: gateway.name,
    brokerUrl: gateway.brokerUrl,
    broker: parseBroker(gateway.brokerUrl) ?? refuse("brokerUrl must be http://host:port, https://host or unix:/path."),
    brokerCa: gateway.brokerCa ?? "/etc/ssl/certs/ca-certificates.crt",
    secretFile: gateway.secretFile,
    targets,
    directory,
    accessLog: gateway.accessLog ?? "/var/log/nginx/wayleave.log",
    cachePath: gateway.cachePath ?? "/var/cache/nginx/wayleave",
    behind: gateway.behind ?? {},
    cached: gateway.cacheSeconds !== undefined,
    keeps: targets.some((target) => keptSeconds(gateway, target) > 0),
    ...(gateway.keepAtMostMs === undefined ? {} : { keepAtMostMs: gateway.keepAtMostMs }),
    ...(gateway.breakglass === undefined ? {} : { breakglass: gateway.breakglass }),
  };
}

const name = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;

function frontable(target: CompiledTarget | undefined, asked: string, refuse: (what: string) => never): CompiledTarget {
  if (target === undefined) return refuse(`policy has no target ${JSON.stringify(asked)}; correct targets.`);
  if (!name.test(target.name))
    return refuse(`target ${JSON.stringify(asked)} cannot be part of a file name; rename it.`);
  if (target.kind !== "http") {
    return refuse(`target ${asked} is of kind ${target.kind}, and NGINX can front only http; take it out of targets.`);
  }
  return target;
}

function parseBroker(text: string): Broker | undefined {
  if (text.startsWith("unix:")) {
    const path = text.slice(5);
    return path.startsWith("/") ? { address: text, scheme: "http", host: "", exposed: false } : undefined;
  }
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const scheme = url.protocol === "https:" ? "https" : url.protocol === "http:" ? "http" : undefined;
  if (scheme === undefined || url.pathname !== "/" || url.search + url.hash + url.username + url.password !== "")
    return undefined;
  const port = url.port || (scheme === "https" ? "443" : "80");
  const exposed = scheme === "http" && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  return { address: `${url.hostname}:${port}`, scheme, host: url.hostname, exposed };
}
