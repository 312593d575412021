import { createHmac, timingSafeEqual } from "node:crypto";
import { WayleaveError } from "../core/errors.ts";
import type { HookRequest } from "./provider.ts";

const signatureWindowMs = 300_000;

/** A header's one value; undefined when absent. A repeated header could be read as either of its values: refused. */
export function singleHeader(request: HookRequest, name: string): string | undefined {
  const value = request.headers[name];
  if (value === undefined || typeof value === "string") return value;
  if (value.length <= 1) return value[0];
  throw hookRefused(`The header ${name} came more than once; remove the proxy or setting that repeats it.`);
}

/** Equality that takes the same time wherever the texts differ. */
export function sameSecret(found: string, wanted: string): boolean {
  // Digests under a key of their own have one length, so that neither time nor length tells anything.
  const digest = (text: string) => createHmac("sha256", "equality").update(text).digest();
  return timingSafeEqual(digest(found), digest(wanted));
}

/** Throws `webhook_refused` unless a signed Unix time (seconds, decimal) is within 5 minutes of now (ms). */
export function checkSignedTime(seconds: string, nowMs: number): void {
  if (/^\d{1,12}$/.test(seconds) && Math.abs(nowMs - Number(seconds) * 1000) <= signatureWindowMs) return;
  throw hookRefused("The webhook was signed more than 5 minutes from now; set the clocks, or have it sent again.");
}

/** The body as a JSON object. Throws `webhook_malformed`. */
export function hookBody(request: HookRequest): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(request.body));
  } catch {
    throw hookMalformed("The webhook's body is not JSON; send the CI's own body, unchanged.");
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  throw hookMalformed("The webhook's body is no JSON object; send the CI's own body, unchanged.");
}

export function hookRefused(detail: string): WayleaveError {
  return new WayleaveError("webhook_refused", detail);
}

export function hookMalformed(detail: string): WayleaveError {
  return new WayleaveError("webhook_malformed", detail);
}
