import type { CompiledTarget } from "../../policy/policy.ts";
import type { Directive, Statement } from "./nginx-config.ts";
import { block, directive } from "./nginx-config.ts";
import type { CheckedSettings } from "./settings.ts";

/** The responder beside this NGINX, which is asked only where Wayleave gives no answer. */
export function breakglassUpstream({ breakglass }: CheckedSettings): Statement[] {
  if (breakglass === undefined) return [];
  return [
    { comment: "wayleave breakglass serve: what two people signed, while Wayleave is away." },
    block("upstream", ["wayleave_breakglass"], [directive("server", breakglass)]),
  ];
}

export const breakglassLocation = (target: string): string => `@wayleave_breakglass_${target}`;

/** Where the question for each enforced target goes on; what gets no answer here either is an outage. */
export function breakglassLocations(
  settings: CheckedSettings,
  trusted: (target: CompiledTarget) => readonly Directive[],
): Statement[] {
  if (settings.breakglass === undefined) return [];
  const enforced = settings.targets.filter(({ mode }) => mode === "enforce");
  return [
    { comment: "Break-glass: asked while Wayleave gives no answer. Without an answer here too it is an outage." },
    ...enforced.map((target) =>
      block(
        "location",
        [breakglassLocation(target.name)],
        [
          directive("auth_request", "off"),
          // A named location passes the path on as it is; the responder has only one.
          directive("proxy_pass", "http://wayleave_breakglass"),
          directive("proxy_http_version", "1.1"),
          directive("proxy_method", "GET"),
          directive("proxy_pass_request_headers", "on"),
          directive("proxy_pass_request_body", "off"),
          directive("proxy_connect_timeout", "1s"),
          directive("proxy_send_timeout", "2s"),
          directive("proxy_read_timeout", "3s"),
          directive("proxy_intercept_errors", "off"),
          directive("proxy_ignore_headers", "X-Accel-Redirect", "X-Accel-Expires", "Cache-Control"),
          directive("proxy_cache", "off"),
          ...trusted(target),
          directive("include", settings.secretFile),
        ],
      ),
    ),
  ];
}
