import { randomBytes } from "node:crypto";
import { getCACertificates } from "node:tls";
import { Agent, request } from "undici";
import type { Config, IssuerConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import type { IssuerClock, KeySetAnswer, ProbeAnswer } from "./doctor-facts.ts";
import { trustedCa } from "./job/trust.ts";
import { compilePolicy } from "./policy-source.ts";

const timeoutMs = 5_000;

interface Heard {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

interface Asking {
  readonly ca?: readonly string[] | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One GET, never redirected; undefined where there is no answer. */
async function get(url: string, { ca, headers = {} }: Asking = {}): Promise<Heard | undefined> {
  const dispatcher = new Agent({
    allowH2: false,
    connect: { timeout: timeoutMs, ...(ca === undefined ? {} : { ca: [...ca] }) },
  });
  try {
    const response = await request(url, { dispatcher, headers, signal: AbortSignal.timeout(timeoutMs) });
    return {
      status: response.statusCode,
      headers: response.headers,
      text: (await response.body.text()).slice(0, 1_000_000),
    };
  } catch {
    return undefined;
  } finally {
    await dispatcher.destroy();
  }
}

/** Each issuer's clock by the Date of its answer, which has whole seconds. */
export function issuerClocks({ issuers }: Pick<Config, "issuers">, now: () => number): Promise<readonly IssuerClock[]> {
  const asked = issuers.filter(({ jwks, url }) => jwks === undefined && url !== undefined);
  return Promise.all(asked.map((issuer) => issuerClock(issuer, now)));
}

async function issuerClock({ name, url = "", ca }: IssuerConfig, now: () => number): Promise<IssuerClock> {
  const before = now();
  const trusted = ca === undefined ? {} : { ca: [...getCACertificates("default"), ca] };
  const heard = await get(`${url.replace(/\/+$/, "")}/.well-known/openid-configuration`, trusted);
  if (heard === undefined) return { name, problem: "gives no answer" };
  const date = Date.parse(String(heard.headers.date ?? ""));
  if (Number.isNaN(date)) return { name, problem: "no Date in its answer" };
  return { name, aheadMs: Math.round(date + 500 - (before + now()) / 2) };
}

/** The broker's keys at each address that gateways use. A NATS gateway asks the broker, and verifies nothing by itself. */
export function keySets(
  { gateways }: Pick<Config, "gateways">,
  io: Pick<CommandIo, "env">,
  input: Input,
): Promise<readonly KeySetAnswer[]> {
  const ca = trustedCa(io, input.text("caFile"));
  const holders = gateways.filter(({ kind }) => kind !== "nats");
  return Promise.all(
    holders.map(async ({ name, brokerUrl }): Promise<KeySetAnswer> => {
      const url = `${brokerUrl.replace(/\/+$/, "")}/oauth2/jwks`;
      const heard = await get(url, { ca });
      if (heard === undefined) return { gateway: name, url, problem: "gives no answer" };
      if (heard.status !== 200) return { gateway: name, url, problem: `answers ${heard.status}` };
      const cacheControl = heard.headers["cache-control"];
      const keys = keysIn(heard.text);
      return {
        gateway: name,
        url,
        ...(keys === undefined ? {} : { keys }),
        ...(typeof cacheControl === "string" ? { cacheControl } : {}),
      };
    }),
  );
}

function keysIn(text: string): number | undefined {
  try {
    const { keys } = JSON.parse(text) as { readonly keys?: unknown };
    return Array.isArray(keys) ? keys.length : undefined;
  } catch {
    return undefined;
  }
}

/** Requests that nobody may make, to each gateway that is named; undefined where none is. */
export async function probeAnswers(
  { gateways, policyPath }: Pick<Config, "gateways" | "policyPath">,
  io: CommandIo,
  input: Input,
): Promise<readonly ProbeAnswer[] | undefined> {
  const urls = input.list("probe");
  if (urls.length === 0) return undefined;
  const { policy } = await compilePolicy(io, input, policyPath);
  const fronted = new Set(gateways.flatMap(({ targets }) => targets));
  // What policy only observes, or shares with people, is let through on purpose.
  const hosts = [...policy.targets.values()]
    .filter(({ name, mode, sharesRoutes }) => fronted.has(name) && mode === "enforce" && !sharesRoutes)
    .flatMap(({ hosts: [host] }) => (host === undefined || host.includes("$") ? [] : [host]));
  const ca = trustedCa(io, input.text("caFile"));
  const path = `/wayleave-probe-${randomBytes(6).toString("hex")}`;
  const asked = urls.flatMap((url) => hosts.flatMap((host) => probes.map((probe) => ({ url, host, probe }))));
  return Promise.all(asked.map(({ url, host, probe }) => sendProbe(url, host, path, probe, ca)));
}

type Probe = (typeof probes)[number];

const probes = [
  { what: "a request without a token", headers: {} },
  { what: "a request with a garbage token", headers: { authorization: "Bearer garbage" } },
  {
    what: "a request with identity headers of its own",
    headers: { "x-wayleave-subject": "spiffe://spoofed", "x-wayleave-decision": "allow", "txn-token": "spoofed" },
  },
] as const;

async function sendProbe(
  url: string,
  host: string,
  path: string,
  { what, headers }: Probe,
  ca: readonly string[] | undefined,
): Promise<ProbeAnswer> {
  if (!URL.canParse(url)) throw new WayleaveError("invalid_request", `--probe ${JSON.stringify(url)} is no URL.`);
  const heard = await get(`${url.replace(/\/+$/, "")}${path}`, { ca, headers: { ...headers, host } });
  return { url, host, what, ...(heard === undefined ? {} : { status: heard.status }) };
}
