import * as stripped from "../stripped-headers.ts";

/**
 * The headers that say who is calling, or what the request "really" is. Rendering strips them, the dialect refuses their
 * look-alikes, the lint knows when a configuration loses the strip: one list for the three.
 */

/** What only Wayleave may say to an upstream or to a gateway, as people write it in a configuration. */
export const identityHeaders: readonly string[] = stripped.identityHeaders.map(headerCase);

/** Headers by which frameworks let a request change its own method or URL. */
export const overrideHeaders: readonly string[] = stripped.overrideHeaders.map(headerCase);

/** `x-http-method` as `X-HTTP-Method`. */
function headerCase(name: string): string {
  const word = (text: string) =>
    text === "http" || text === "url" ? text.toUpperCase() : text.charAt(0).toUpperCase() + text.slice(1);
  return name.split("-").map(word).join("-");
}

/** What the auth location says about the client's request, and what proxies say of the same; a client's own copy is noise. */
export const originalHeaders = [
  "X-Original-Method",
  "X-Original-Host",
  "X-Original-URI",
  "X-Original-Connection",
  "X-Original-Upgrade",
  "X-Forwarded-Uri",
  "X-Forwarded-Method",
  "X-Forwarded-Prefix",
] as const;

/** Set by the rendered location from what NGINX itself saw. */
export const forwardedHeaders = ["X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto"] as const;

/**
 * Every way to write a header name with `-` or `_` as separators, as written first. There is no spelling with `.`:
 * NGINX hashes a name anew after a character it finds invalid, so `proxy_set_header` cannot remove such a header; it drops
 * them by default, the dialect refuses them and the lint names the directive that lets them in.
 */
export function spellings(name: string): string[] {
  const [first = "", ...rest] = name.split("-");
  return rest.reduce(
    (all, part) => [...all.map((text) => `${text}-${part}`), ...all.map((text) => `${text}_${part}`)],
    [first],
  );
}
