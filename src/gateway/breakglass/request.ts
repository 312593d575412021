import { z } from "zod";
import { WayleaveError } from "../../core/errors.ts";

/** Longest that glass stays broken, seconds. */
export const maxSeconds = 3600;

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/);
const names = z.array(name).min(1).max(20);
const seconds = z.int().min(0).max(253_402_300_799);

/** What two people sign: named targets at named gateways of one broker, for at most an hour, and why. */
const Request = z.strictObject({
  v: z.literal(1),
  id: z.string().regex(/^bg_[0-9a-hjkmnp-tv-z]{16}$/),
  /** `issuer` of the broker that is away: the same people may approve for another. */
  broker: z.string().min(1).max(200),
  gateways: names,
  targets: names,
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  reason: z.string().regex(/^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]{10,300}$/),
  /** NumericDate: seconds since the epoch. */
  starts_at: seconds,
  ends_at: seconds,
});
export type BreakglassRequest = Readonly<z.infer<typeof Request>>;

const Signature = z.strictObject({
  by: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,62}$/),
  signature: z.string().regex(/^[A-Za-z0-9_-]{86}$/),
});

/** A request with the signatures it has so far: what is passed from person to person as a file. */
const Signed = z.strictObject({ request: Request, signatures: z.array(Signature).max(8) });
export type SignedRequest = Readonly<z.infer<typeof Signed>>;

/** Reads a file or the inside of a token. Throws `breakglass_malformed`. What it says is not checked beyond its form and its time. */
export function parseSigned(text: string): SignedRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed("it is no JSON");
  }
  const read = Signed.safeParse(value);
  if (!read.success) throw malformed(`${read.error.issues[0]?.path.join(".") || "it"} is not as it must be`);
  checkLength(read.data.request);
  return read.data;
}

function checkLength({ starts_at, ends_at }: BreakglassRequest): void {
  if (ends_at <= starts_at) throw malformed("it ends before it starts");
  if (ends_at - starts_at <= maxSeconds) return;
  throw new WayleaveError("breakglass_too_long", "A break-glass request is for one hour at most; make a shorter one.");
}

/** A request of these parts, its lists in order. Throws `breakglass_malformed` or `breakglass_too_long`. */
export function makeRequest(parts: Omit<BreakglassRequest, "v">): BreakglassRequest {
  const sorted = (list: readonly string[]) => [...new Set(list)].sort();
  const request = { v: 1, ...parts, gateways: sorted(parts.gateways), targets: sorted(parts.targets) };
  return parseSigned(JSON.stringify({ request, signatures: [] })).request;
}

/**
 * The bytes that are signed: the request in the one form of RFC 8785, after words that no other signature of anybody's begins
 * with. Its keys are ASCII and it holds only texts, whole numbers and lists of texts, for which `JSON.stringify` is that form.
 */
export function signedBytes(request: BreakglassRequest): Uint8Array {
  return Buffer.from(`wayleave break-glass v1\n${canonical(request)}`, "utf8");
}

export function canonical(request: BreakglassRequest): string {
  return JSON.stringify(Object.fromEntries(Object.entries(request).sort(([a], [b]) => (a < b ? -1 : 1))));
}

export function malformed(why: string): WayleaveError {
  return new WayleaveError(
    "breakglass_malformed",
    `This is no break-glass request: ${why}. Make one with wayleave breakglass request.`,
  );
}
