import type { ListedTarget } from "../../api/contract.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";

/** One target as a command reaches it. */
export interface TargetRoute {
  readonly name: string;
  /** `billing-api` → `BILLING_API`. */
  readonly variable: string;
  /** The name the gateway knows the target by: the request's Host, and what the certificate must say. */
  readonly host: string;
  /** Where the gateway listens: the one place the credential is sent to. */
  readonly gateway: URL;
  /** Service of a mesh: whoever listens there must be it, by its certificate, whatever it is called. */
  readonly spiffeId?: string;
}

/** `--target billing` or `--target billing=https://edge.example:8443`. */
export function parseTargetOption(text: string): { readonly name: string; readonly gateway?: string } {
  const [, name, gateway] = /^([A-Za-z0-9][A-Za-z0-9._-]*)(?:=(.+))?$/.exec(text) ?? [];
  if (name === undefined) {
    throw new WayleaveError(
      "invalid_request",
      `--target ${JSON.stringify(text)} is not understood. Write billing, or billing=https://gateway:8443.`,
    );
  }
  return gateway === undefined ? { name } : { name, gateway };
}

/**
 * Routes to the http targets of a token, and to services of the mesh whose address is given. A gateway's address comes from
 * `--target`, from `WAYLEAVE_TARGET_<NAME>_URL`, or is the target's first host. Throws `invalid_request` for a target that was asked for and has no host.
 */
export function targetRoutes(
  io: Pick<CommandIo, "env">,
  targets: readonly ListedTarget[],
  asked: readonly { readonly name: string; readonly gateway?: string }[],
): readonly TargetRoute[] {
  return targets.flatMap((target) => {
    const { name } = target;
    const variable = variableName(name);
    const given = asked.find((entry) => entry.name === name)?.gateway;
    const address = given ?? io.env[`WAYLEAVE_TARGET_${variable}_URL`];
    if (target.kind === "mesh" && target.spiffe_id !== undefined) {
      return address === undefined ? [] : [meshRoute(name, variable, address, target.spiffe_id)];
    }
    const [host] = target.hosts;
    if (target.kind !== "http" || host === undefined) {
      if (given === undefined || target.kind === "tcp") return [];
      throw new WayleaveError(
        "invalid_request",
        `Target ${name} is ${target.kind}, not http with a host: leave out its address.`,
      );
    }
    return [{ name, variable, host, gateway: gatewayUrl(name, address ?? `https://${host}`) }];
  });
}

/** A mesh has no name to look up, so the address must be given; and no certificate can be seen without TLS. */
function meshRoute(name: string, variable: string, address: string, spiffeId: string): TargetRoute {
  const gateway = gatewayUrl(name, address);
  if (gateway.protocol !== "https:") {
    throw new WayleaveError(
      "invalid_request",
      `Target ${name} is a service of the mesh, known by its certificate: its address must be https.`,
    );
  }
  return { name, variable, host: gateway.host, gateway, spiffeId };
}

/** `billing-api` → `BILLING_API`. */
export function variableName(target: string): string {
  return target.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_");
}

/** The address of a target's gateway. Throws `invalid_request` for one that no token may be sent to. */
export function gatewayUrl(name: string, address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || !isSecure(url) || url.pathname !== "/" || url.search !== "" || url.username !== "") {
    throw new WayleaveError(
      "invalid_request",
      `The address of target ${name} must be https://host[:port] and nothing more (http only on loopback).`,
    );
  }
  return url;
}

/** True for https, and for http that never leaves this machine: nothing else is sent a token. */
export function isSecure(url: URL): boolean {
  const loopback = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  return url.protocol === "https:" || (url.protocol === "http:" && loopback);
}
