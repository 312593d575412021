import * as oauth from "oauth4webapi";
import type { SignInOptions } from "../api/contract.ts";
import { WayleaveError } from "../core/errors.ts";
import type { CommandIo } from "./command-io.ts";

/** Where the person goes, and what they type there. */
export interface DeviceCode {
  readonly verification_uri: string;
  readonly verification_uri_complete?: string;
  readonly user_code: string;
  /** Seconds. */
  readonly expires_in: number;
}

export interface DeviceFlowOptions {
  readonly options: SignInOptions;
  /** For an application that has one (Google). */
  readonly clientSecret?: string;
  fetch(url: string, init: object): Promise<Response>;
  /** Called once, before waiting. */
  shown(code: DeviceCode): void;
}

/**
 * An ID token for whoever types the code at the issuer. Throws `issuer_unreachable`, or `access_denied` where the person or the
 * issuer refuses. Not checked: its signature; that is the broker's business.
 *
 * @see RFC 8628
 */
export async function deviceFlow(
  io: Pick<CommandIo, "pause" | "now">,
  { options, clientSecret, fetch, shown }: DeviceFlowOptions,
): Promise<string> {
  const request = {
    [oauth.customFetch]: fetch,
    [oauth.allowInsecureRequests]: new URL(options.issuer).protocol === "http:",
  };
  const client: oauth.Client = { client_id: options.client_id, [oauth.clockTolerance]: 60 };
  const auth = clientSecret === undefined ? oauth.None() : oauth.ClientSecretPost(clientSecret);
  const server = await discover(options.issuer, request);
  const device = await asking(options.issuer, async () => {
    const scope = { scope: options.scope };
    const answer = await oauth.deviceAuthorizationRequest(server, client, auth, scope, request);
    return oauth.processDeviceAuthorizationResponse(server, client, answer);
  });
  const { device_code: code, interval = 5, expires_in: seconds } = device;
  shown({
    verification_uri: device.verification_uri,
    ...(device.verification_uri_complete === undefined
      ? {}
      : { verification_uri_complete: device.verification_uri_complete }),
    user_code: device.user_code,
    expires_in: seconds,
  });
  const until = io.now() + seconds * 1000;
  for (let pauseMs = interval * 1000; io.now() + pauseMs < until; ) {
    await io.pause(pauseMs);
    const token = await asking(options.issuer, async () => {
      const answer = await oauth.deviceCodeGrantRequest(server, client, auth, code, request);
      return oauth.processDeviceCodeResponse(server, client, answer).catch(waiting);
    });
    if (token === "slow_down") pauseMs += 5000;
    else if (token !== "authorization_pending") return idTokenOf(token, options.issuer);
  }
  throw new WayleaveError("access_denied", "The code was not used in its time. Run `wayleave login` again.");
}

async function discover(issuer: string, request: oauth.HttpRequestOptions<"GET">): Promise<oauth.AuthorizationServer> {
  const url = new URL(issuer);
  const server = await asking(issuer, async () =>
    oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, request)),
  );
  if (server.device_authorization_endpoint !== undefined) return server;
  throw new WayleaveError(
    "access_denied",
    `${issuer} offers no device flow; switch it on there for this application (docs/guides/people.md).`,
  );
}

/** What means to ask again; everything else is thrown. @see RFC 8628 §3.5 */
function waiting(error: unknown): "slow_down" | "authorization_pending" {
  const word = error instanceof oauth.ResponseBodyError ? error.error : "";
  if (word === "slow_down" || word === "authorization_pending") return word;
  throw error;
}

function idTokenOf({ id_token: token }: oauth.TokenEndpointResponse, issuer: string): string {
  if (token !== undefined) return token;
  throw new WayleaveError("access_denied", `${issuer} gave no ID token; allow the scope openid for this application.`);
}

/** One question to the issuer, with what went wrong as an error of ours. */
async function asking<T>(issuer: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof WayleaveError) throw cause;
    if (cause instanceof oauth.ResponseBodyError) throw refused(issuer, cause);
    if (cause instanceof oauth.WWWAuthenticateChallengeError) {
      throw new WayleaveError("access_denied", `${issuer} does not know this application, or wants its secret.`, {
        cause,
      });
    }
    const { code, cause: inner } = cause as { readonly code?: unknown; readonly cause?: { readonly code?: unknown } };
    const why = [inner?.code, code].find((each) => typeof each === "string") ?? "no answer";
    const detail = `${issuer} could not be asked (${String(why)}). Check its address, --ca-file and the network.`;
    throw new WayleaveError("issuer_unreachable", detail, { cause });
  }
}

function refused(issuer: string, cause: oauth.ResponseBodyError): WayleaveError {
  const { error: word, error_description: text } = cause;
  const why: Readonly<Record<string, string>> = {
    access_denied: "the sign-in was refused there, by the person or by its rules",
    expired_token: "the code was not used in its time; run `wayleave login` again",
    invalid_client: "it does not know this application, or wants its secret: --client-secret-file",
    unauthorized_client: "the device flow is off for this application; switch it on there",
  };
  const said = text === undefined ? word : `${word}: ${text.slice(0, 300)}`;
  return new WayleaveError("access_denied", `${issuer}: ${why[word] ?? said}.`, { cause });
}
