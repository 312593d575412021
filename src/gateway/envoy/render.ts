import { WayleaveError } from "../../core/errors.ts";
import { printYaml } from "../resources.ts";
import { refusalsConfig } from "./refusals.ts";
import { renderClusters, secretFile, secretName } from "./render-clusters.ts";
import { refusalsFile, renderFilters } from "./render-filters.ts";
import { observes, renderAccessLogs, renderBootstrap } from "./render-listener.ts";
import { renderNotes } from "./render-notes.ts";
import { renderProbes } from "./render-probes.ts";
import { renderVirtualHosts } from "./render-routes.ts";
import { type CheckedSettings, checkSettings, type RenderInput } from "./settings.ts";
import { extension } from "./type-url.ts";

export interface RenderedFile {
  /** Relative to the gateway's directory. */
  readonly path: string;
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
}

export interface RenderedEnvoy {
  readonly files: readonly RenderedFile[];
  /** What the reader must know and cannot see in the files: what is asked about and why, exceptions, limits. */
  readonly notes: readonly string[];
}

/**
 * The files that make an Envoy enforce policy for the gateway's targets: by itself wherever a token alone says the answer,
 * by asking Wayleave elsewhere. Pure: the same input, in any order, gives the same bytes. No secret is in them
 * (`renderSecret` has it). Not checked: whether the paths exist. Throws `render_refused` naming what Envoy cannot express,
 * with file and line.
 */
export function renderEnvoy(input: RenderInput): RenderedEnvoy {
  const settings = checkSettings(input);
  const file = (path: string, text: string, mode = 0o644): RenderedFile => ({ path, text, mode });
  const head = `Wayleave for gateway ${settings.name}, policy ${settings.policyVersion}. Rendered; do not edit.`;
  const yaml = (path: string, what: string, value: object) => file(path, printYaml(value, `${head}\n${what}`));
  const pieces = settings.fragments
    ? [
        yaml(
          "wayleave-http-filters.yaml",
          "Items of http_filters: all of them, in this order.",
          renderFilters(settings, { observes: observes(settings) }),
        ),
        yaml(
          "wayleave-virtual-hosts.yaml",
          "Items of virtual_hosts in the route configuration.",
          renderVirtualHosts(settings),
        ),
        yaml("wayleave-clusters.yaml", "Items of static_resources.clusters.", renderClusters(settings)),
        yaml("wayleave-access-log.yaml", "Items of access_log in the connection manager.", renderAccessLogs(settings)),
      ]
    : [yaml("envoy.yaml", "A whole configuration.", renderBootstrap(settings))];
  const watched = settings.native && settings.revocation === "file";
  return {
    files: [
      ...pieces,
      ...(watched ? [file(refusalsFile, firstRefusals(settings))] : []),
      file("wayleave-probes.sh", renderProbes(settings), 0o755),
    ],
    notes: renderNotes(settings),
  };
}

/** What stands in the watched file until the first one comes: Envoy wants one to begin with, and this refuses everything. */
function firstRefusals({ policyVersion }: CheckedSettings): string {
  const config = refusalsConfig({ sessions: [], tokens: [], kids: [], validUntil: 0 }, policyVersion);
  const resource = { "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", ...config };
  return `${JSON.stringify({ version_info: "rendered", resources: [resource] })}\n`;
}

/**
 * The gateway's secret as Envoy reads it: write it with mode 0600 under the name `secretFile`. Throws `render_refused` for
 * one that a header cannot carry: 16 to 256 letters, digits and `._~+/=-`. The message does not hold it.
 */
export function renderSecret(secret: string): RenderedFile {
  if (!/^[A-Za-z0-9._~+/=-]{16,256}$/.test(secret)) {
    throw new WayleaveError(
      "render_refused",
      "A gateway secret is 16 to 256 letters, digits and ._~+/=-; make a new one.",
    );
  }
  const resource = {
    "@type": extension("transport_sockets.tls.v3.Secret"),
    name: secretName,
    generic_secret: { secret: { inline_string: secret } },
  };
  return {
    path: secretFile,
    text: printYaml({ resources: [resource] }, "SECRET. Rendered; do not edit."),
    mode: 0o600,
  };
}
