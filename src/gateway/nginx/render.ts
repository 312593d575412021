import { WayleaveError } from "../../core/errors.ts";
import type { CompiledTarget, Policy } from "../../policy/policy.ts";
import { keptSeconds } from "./keep-settings.ts";
import { directive, printNginx } from "./nginx-config.ts";
import { njsModule } from "./njs-module.ts";
import { renderHttp } from "./render-http.ts";
import { renderLocation } from "./render-location.ts";
import { renderProbes } from "./render-probes.ts";
import { renderServer } from "./render-server.ts";
import { type CheckedSettings, checkSettings, type NginxGatewaySettings } from "./settings.ts";

export interface RenderedFile {
  /** Relative to the gateway's directory. */
  readonly path: string;
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
}

export interface RenderedNginx {
  readonly files: readonly RenderedFile[];
  /** What the reader must know and cannot see in the files: exceptions, limits, things to install. One sentence each. */
  readonly notes: readonly string[];
}

/**
 * The files that make an existing NGINX ask Wayleave about the gateway's targets. Pure: the same policy and settings, in any
 * order, give the same bytes. No secret is in them. Not checked: the configuration around them (`lintNginx`) and whether
 * the paths exist. Throws `render_refused` naming what NGINX cannot express.
 */
export function renderNginx(input: { readonly gateway: NginxGatewaySettings; readonly policy: Policy }): RenderedNginx {
  const settings = checkSettings(input.gateway, input.policy);
  const file = (path: string, text: string, mode = 0o644): RenderedFile => ({ path, text, mode });
  return {
    files: [
      file("wayleave-http.conf", printNginx(renderHttp(settings))),
      file("wayleave-server.conf", printNginx(renderServer(settings))),
      ...settings.targets.map((target) =>
        file(`wayleave-location-${target.name}.conf`, printNginx(renderLocation(settings, target))),
      ),
      ...(settings.cached || settings.keeps ? [file("wayleave.js", njsModule(settings.keeps))] : []),
      file("wayleave-probes.sh", renderProbes(settings, input.policy), 0o755),
    ],
    notes: [...gatewayNotes(settings), ...settings.targets.flatMap((target) => targetNotes(settings, target))],
  };
}

/**
 * The text of the gateway's `secretFile`. Write it with mode 0600. Throws `render_refused` for a secret that a header cannot
 * carry: 16 to 256 letters, digits and `._~+/=-`. The message does not hold it.
 */
export function renderSecret(secret: string): string {
  if (!/^[A-Za-z0-9._~+/=-]{16,256}$/.test(secret)) {
    throw new WayleaveError(
      "render_refused",
      "A gateway secret is 16 to 256 letters, digits and ._~+/=-; make a new one.",
    );
  }
  return printNginx([directive("proxy_set_header", "X-Wayleave-Gateway-Secret", secret)]);
}

function gatewayNotes(settings: CheckedSettings): string[] {
  return [
    ...(settings.broker.exposed
      ? [
          `${settings.brokerUrl} is plain http over a network: tokens and the gateway's secret can be read on the way. Use https or a socket.`,
        ]
      : []),
    ...(Object.keys(settings.behind).length > 0
      ? [
          `Requests go on over mutual TLS with svid.pem, svid.key and bundle.pem in ${settings.directory}: keep them fresh with wayleave svid fetch --gateway ${settings.name} --out ${settings.directory} --follow.`,
        ]
      : []),
    ...(settings.breakglass === undefined
      ? []
      : [
          `While Wayleave gives no answer, ${settings.breakglass} is asked: run wayleave breakglass serve --gateway ${settings.name} beside this NGINX. Who it lets through has no assertion and no session.`,
        ]),
    ...(settings.cached
      ? [
          "The decision cache is on: a session's end is seen up to 2 s later where Wayleave marked the decision as repeatable.",
        ]
      : []),
  ];
}

function targetNotes(settings: CheckedSettings, target: CompiledTarget): string[] {
  const kept = keptSeconds(settings, target);
  const name = `target ${target.name}`;
  return [
    ...(target.mode === "observe"
      ? [
          `${name} is observed: what policy denies is recorded and let through, and so is everything while Wayleave does not answer. Render again when policy enforces it.`,
        ]
      : []),
    ...(target.sharesRoutes ? [`${name} has routes that pass without an identity (unidentified: pass).`] : []),
    ...(target.streams
      ? [
          `${name} has operations with stream: true. NGINX cannot end an open stream, so it never forwards Upgrade; front them by the Wayleave proxy.`,
        ]
      : []),
    ...(kept > 0
      ? [
          `${name} says on_outage: keep. While Wayleave does not answer, a request that it allowed within the last ${kept} s goes on; a session that ended since, of which this gateway did not hear, does too. Decisions on it are not cached otherwise.`,
        ]
      : []),
    ...(kept === 0 && target.onOutage.keepSeconds > 0 && target.mode === "enforce"
      ? [`${name} says on_outage: keep, and this gateway on_outage: deny: an outage denies here.`]
      : []),
  ];
}
