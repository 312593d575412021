import { keptSeconds } from "./keep-settings.ts";
import { directive, type Statement, variable } from "./nginx-config.ts";
import type { CheckedSettings } from "./settings.ts";

/** What belongs in `http { }` where something is kept. */
export function keepHttp(settings: CheckedSettings): Statement[] {
  const longest = Math.max(0, ...settings.targets.map((target) => keptSeconds(settings, target)));
  if (longest === 0) return [];
  return [
    {
      comment:
        "Answers kept for on_outage: keep. Each is asked for anew; only while Wayleave does not answer is it used, until a\nsecond before its time. Sessions that were refused here are remembered, and nothing of theirs is used.",
    },
    directive("js_set", variable("wayleave_kept_key"), "wayleave.keptKey"),
    directive("js_set", variable("wayleave_noted"), "wayleave.noted"),
    directive("js_shared_dict_zone", "zone=wayleave_refused:1m", "timeout=900s", "evict"),
    directive(
      "proxy_cache_path",
      `${settings.cachePath}-kept`,
      "levels=1:2",
      "keys_zone=wayleave_kept:4m",
      `inactive=${longest}s`,
      "max_size=128m",
      "use_temp_path=off",
    ),
  ];
}

/** What an auth location says of the answers it keeps. */
export const keepAnswers: readonly Statement[] = [
  directive("proxy_cache", "wayleave_kept"),
  directive("proxy_cache_key", variable("wayleave_kept_key")),
  directive("proxy_cache_methods", "GET"),
  directive("proxy_cache_min_uses", "1"),
  // The answer itself says for how long (RFC 5861 §4); a word here would have no bound.
  directive("proxy_cache_use_stale", "off"),
  directive("proxy_cache_background_update", "off"),
  directive("proxy_cache_lock", "off"),
];

/** Looks at each answer, so that a refused session is known to all paths and workers. */
export const keepNoted: Statement = directive(
  "auth_request_set",
  variable("wayleave_seen"),
  variable("wayleave_noted"),
);
