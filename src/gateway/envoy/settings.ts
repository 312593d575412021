import { WayleaveError } from "../../core/errors.ts";
import type { PolicyModel, TargetModel } from "../../policy/model.ts";
import { type NativeTarget, nativePolicy } from "../../policy/native.ts";
import { keepSecondsAt, refuseAnyKeep } from "../keep.ts";
import { type Domains, domainsOf } from "./domains.ts";

interface Address {
  readonly host: string;
  readonly port: number;
}

interface Upstream extends Address {
  /** It speaks HTTP/2, as gRPC does. */
  readonly http2?: true;
}

/** One Envoy of the inventory, as `render` needs it. Paths are absolute, on the machine that Envoy runs on. */
export interface EnvoyGatewaySettings {
  readonly name: string;
  /** Targets it fronts. */
  readonly targets: readonly string[];
  readonly mode: "native" | "call_out";
  /** How it asks. */
  readonly protocol: "grpc" | "http";
  /** Where Envoy reaches Wayleave: `http://127.0.0.1:8700`, `https://wayleave.internal`, `unix:/run/wayleave.sock`. */
  readonly brokerUrl: string;
  /** Where it reaches the broker's gRPC listener. */
  readonly grpc?: (Address & { readonly tls: boolean }) | undefined;
  /** Certificates that sign a TLS broker's. */
  readonly brokerCaFile?: string;
  readonly revocation: "grpc" | "rest" | "file";
  readonly keyCacheMs: number;
  /** How long a native one goes on without the broker. Default: 15 s. */
  readonly revocationTtlMs?: number;
  /** Longest it may keep to what was allowed while the broker is away, ms. */
  readonly keepAtMostMs?: number;
  /** Gateways in front: then it takes their mutual TLS and the assertion in `Txn-Token`. Empty: it takes access tokens. */
  readonly behind: readonly string[];
  /** By target: the gateway behind this one, to which requests go on over mutual TLS with this gateway's SVID. */
  readonly passesOn?: Readonly<Record<string, string>>;
  readonly listen: Address;
  /** Address of each target's upstream. */
  readonly upstreams: Readonly<Record<string, Upstream>>;
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  /** Where requests are logged as JSON. */
  readonly accessLog?: string;
  /** Where the rendered files will lie. */
  readonly directory?: string;
}

export interface RenderInput {
  readonly gateway: EnvoyGatewaySettings;
  readonly policy: PolicyModel;
  /** `iss` of tokens. */
  readonly issuer: string;
  readonly trustDomain: string;
  /** Life of an access token: no stream outlives it by more. */
  readonly tokenTtlMs: number;
  /** Pieces for an existing configuration, not a whole one. */
  readonly fragments?: boolean;
}

/** The settings, checked, with every default filled in. */
export interface CheckedSettings
  extends Omit<Required<EnvoyGatewaySettings>, "targets" | "grpc" | "tls" | "keepAtMostMs"> {
  readonly keepAtMostMs: number | undefined;
  readonly targets: readonly FrontedTarget[];
  readonly grpc: EnvoyGatewaySettings["grpc"];
  readonly tls: EnvoyGatewaySettings["tls"] | undefined;
  readonly broker: Broker;
  readonly policyVersion: string;
  readonly issuer: string;
  readonly trustDomain: string;
  /** Whole seconds. */
  readonly maxStreamSeconds: number;
  /** Takes assertions from gateways in front, not access tokens. */
  readonly inner: boolean;
  /** Something is decided by Envoy alone. */
  readonly native: boolean;
  readonly fragments: boolean;
}

export interface FrontedTarget {
  readonly name: string;
  readonly model: TargetModel;
  readonly native: NativeTarget;
  readonly domains: Domains;
  /** Why every request is asked about; undefined where Envoy decides what it can. */
  readonly whole: string | undefined;
  readonly upstream: Upstream | undefined;
  /** Name of the gateway behind. */
  readonly next: string | undefined;
}

export interface Broker {
  readonly scheme: "http" | "https";
  /** Base of URLs, without a slash at its end. */
  readonly base: string;
  /** Empty for a socket. */
  readonly host: string;
  readonly port: number;
  readonly socket: string | undefined;
  /** The secret and the tokens travel unencrypted over a network. */
  readonly exposed: boolean;
}

type Refuse = (what: string) => never;

const maxStreamSeconds = 300;
const defaultTtlMs = 15_000;

/** Checks what the renderer relies on. Throws `render_refused`, naming the gateway, the one thing that is wrong, and the place in policy. */
export function checkSettings(input: RenderInput): CheckedSettings {
  const { gateway, policy, tokenTtlMs } = input;
  const refuse: Refuse = (what) => {
    throw new WayleaveError("render_refused", `Gateway ${gateway.name}: ${what}`);
  };
  if (!name.test(gateway.name)) refuse("its name must be letters, digits, - and _.");
  if (gateway.targets.length === 0) refuse("it fronts no target; list them under targets.");
  const inner = gateway.behind.length > 0;
  const strange = gateway.behind.find((front) => !name.test(front));
  if (strange !== undefined) refuse(`behind names ${JSON.stringify(strange)}, which is no gateway's name.`);
  const views = nativePolicy(policy, { counted: inner }).targets;
  const targets = [...new Set(gateway.targets)]
    .toSorted()
    .map((target) => fronted(target, views.get(target), input, refuse));
  refuseSharedDomains(targets, refuse);
  const checked: CheckedSettings = {
    ...gateway,
    targets,
    grpc: gateway.grpc,
    tls: gateway.tls,
    passesOn: gateway.passesOn ?? {},
    revocationTtlMs: gateway.revocationTtlMs ?? defaultTtlMs,
    keepAtMostMs: gateway.keepAtMostMs,
    brokerCaFile: gateway.brokerCaFile ?? "/etc/ssl/certs/ca-certificates.crt",
    accessLog: gateway.accessLog ?? "/var/log/envoy/wayleave.log",
    directory: gateway.directory ?? "/etc/envoy/wayleave",
    broker:
      parseBroker(gateway.brokerUrl) ?? refuse("broker_url must be http://host:port, https://host or unix:/path."),
    policyVersion: policy.version,
    issuer: input.issuer,
    trustDomain: input.trustDomain,
    maxStreamSeconds: Math.max(1, Math.min(maxStreamSeconds, Math.floor(tokenTtlMs / 1000))),
    inner,
    native: targets.some(({ whole }) => whole === undefined),
    fragments: input.fragments === true,
  };
  refuseMissingGrpc(checked, refuse);
  return checked;
}

const name = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;

function fronted(
  asked: string,
  view: NativeTarget | undefined,
  { gateway, policy, fragments }: RenderInput,
  refuse: Refuse,
): FrontedTarget {
  const model = policy.targets.find((target) => target.name === asked);
  if (model === undefined) return refuse(`policy has no target ${JSON.stringify(asked)}; correct targets.`);
  if (view === undefined) {
    return refuse(
      `target ${asked} is of kind ${model.kind}, and Envoy can front only http and mesh; take it out of targets.`,
    );
  }
  if (!name.test(asked)) return refuse(`target ${JSON.stringify(asked)} cannot be part of a name in Envoy; rename it.`);
  const upstream = gateway.upstreams[asked];
  if (upstream === undefined && fragments !== true) {
    return refuse(`target ${asked} has no address; add it under upstreams, or render fragments.`);
  }
  const next = gateway.passesOn?.[asked];
  const whole = wholeReason(model, gateway, next);
  const domains = domainsOf(model, gateway.listen.port);
  checkKeep(gateway, model, keepObstacle(gateway, { whole, domains, native: view }));
  return { name: asked, model, native: view, domains, whole, upstream, next };
}

/** What Envoy decides by itself goes on for `revocation_ttl`; of what it asks it keeps no answers. */
function keepObstacle(
  { behind, keepAtMostMs, revocationTtlMs = defaultTtlMs }: EnvoyGatewaySettings,
  { whole, domains, native }: Pick<FrontedTarget, "whole" | "domains" | "native">,
): string | undefined {
  const asks = "and Envoy keeps no answers";
  const [clause] = native.asked;
  const keepMs = keepSecondsAt(native.model.onOutage, keepAtMostMs) * 1000;
  if (whole !== undefined) return `every request to it is asked about (${whole}), ${asks}`;
  if (domains.templated.length > 0) return `requests to ${domains.templated[0]} are asked about, ${asks}`;
  if (clause !== undefined) {
    const what = clause.pattern?.source ?? "every request";
    return `${what} is asked about (${at(clause)}: ${clause.because}), ${asks}`;
  }
  if (behind.length > 0) return "it takes assertions, which nobody makes while Wayleave is away";
  if (revocationTtlMs <= keepMs) return undefined;
  return `what Envoy decides by itself goes on for revocation_ttl, ${revocationTtlMs / 1000} s, which is longer`;
}

function checkKeep(gateway: EnvoyGatewaySettings, model: TargetModel, obstacle: string | undefined): void {
  if (obstacle !== undefined) refuseAnyKeep(gateway, model, obstacle);
}

/** Behind another gateway, proof and assertion are that gateway's business. */
function wholeReason(
  { proof, assertion, encodedSlash }: TargetModel,
  { mode, behind }: EnvoyGatewaySettings,
  next: string | undefined,
): string | undefined {
  if (mode === "call_out") return "the gateway says mode: call_out";
  if (encodedSlash === "segment")
    return "it says encoded_slash: segment, and Envoy cannot tell such paths apart as policy does";
  if (behind.length > 0) return undefined;
  if (proof === "required") return "it says proof: required, and Envoy checks none";
  if (assertion === "required") return "it says assertion: required, and Envoy mints none";
  return next === undefined ? undefined : `gateway ${next} behind this one wants an assertion, and Envoy mints none`;
}

/** Envoy finds a target by its host: none may be two targets'. */
function refuseSharedDomains(targets: readonly FrontedTarget[], refuse: Refuse): void {
  const owners = new Map<string, FrontedTarget>();
  for (const target of targets) {
    for (const domain of [...target.domains.exact, ...target.domains.templated]) {
      const other = owners.get(domain);
      if (other !== undefined && other !== target) {
        refuse(
          `targets ${other.name} (${at(other.model)}) and ${target.name} (${at(target.model)}) would both be found by ${domain}; give each to a gateway of its own.`,
        );
      }
      owners.set(domain, target);
    }
  }
}

export const at = ({ place }: { readonly place: TargetModel["place"] }): string => `${place.file}:${place.line}`;

function refuseMissingGrpc(
  { grpc, protocol, revocation, native, inner, passesOn, tls }: CheckedSettings,
  refuse: Refuse,
): void {
  if (grpc !== undefined) return;
  const fix = "set listen.grpc of the broker, or broker_grpc of the gateway";
  if (protocol === "grpc") refuse(`it asks by gRPC, and where is not known; ${fix}, or say protocol: http.`);
  if (native && revocation === "grpc") {
    refuse(`it hears of ended sessions by gRPC, and where is not known; ${fix}, or say revocation: rest.`);
  }
  if ((inner && tls === undefined) || Object.keys(passesOn).length > 0) {
    refuse(`it gets its certificate by gRPC, and where is not known; ${fix}.`);
  }
}

function parseBroker(text: string): Broker | undefined {
  if (text.startsWith("unix:")) {
    const socket = text.slice(5);
    if (!socket.startsWith("/")) return undefined;
    return { scheme: "http", base: "http://wayleave", host: "", port: 0, socket, exposed: false };
  }
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const scheme = url.protocol === "https:" ? "https" : url.protocol === "http:" ? "http" : undefined;
  if (scheme === undefined || url.pathname !== "/" || url.search + url.hash + url.username + url.password !== "") {
    return undefined;
  }
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return {
    scheme,
    base: url.origin,
    host,
    port: Number(url.port || (scheme === "https" ? 443 : 80)),
    socket: undefined,
    exposed: scheme === "http" && !isLoopback(host),
  };
}

/** True for addresses that do not leave the machine. */
export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|::1)$/.test(host);
