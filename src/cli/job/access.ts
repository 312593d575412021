import type { TokenResponse } from "../../api/contract.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import { isOutage } from "./retry.ts";

/** The access token of now, kept fresh. */
export interface Access {
  /** Resolves with a token that is still good, waiting for its renewal where it is not. Throws what the renewal throws. */
  current(): Promise<string>;
  stop(): void;
}

export interface AccessOptions {
  readonly first: TokenResponse;
  renew(): Promise<TokenResponse>;
  /** Called with each token, the first included. */
  onToken(token: TokenResponse): void;
  /** Called once when the broker says no. */
  onRefused(error: WayleaveError): void;
}

const retryAfterOutageMs = 3000;

/** Renews at two thirds of a token's life. An outage is tried through until the broker answers; a refusal ends the renewals. */
export function keepAccess(io: Pick<CommandIo, "now" | "pause">, options: AccessOptions): Access {
  const stopped = new AbortController();
  let token = options.first;
  let goodUntil = expiry(token);
  let renewal: Promise<void> | undefined;
  let refusal: WayleaveError | undefined;

  function expiry(latest: TokenResponse): number {
    return io.now() + latest.expires_in * 1000;
  }

  async function renewOnce(): Promise<void> {
    const latest = await options.renew();
    token = latest;
    goodUntil = expiry(latest);
    options.onToken(latest);
  }

  /** One renewal at a time, whoever asks. */
  function renew(): Promise<void> {
    renewal ??= renewOnce().finally(() => {
      renewal = undefined;
    });
    return renewal;
  }

  async function loop(): Promise<void> {
    let waitMs = (token.expires_in * 1000 * 2) / 3;
    while (!stopped.signal.aborted) {
      await io.pause(waitMs, stopped.signal);
      if (stopped.signal.aborted) return;
      try {
        await renew();
        waitMs = Math.max(1000, (token.expires_in * 1000 * 2) / 3);
      } catch (error) {
        if (!isOutage(error)) return refuse(error);
        waitMs = retryAfterOutageMs;
      }
    }
  }

  function refuse(error: unknown): void {
    if (stopped.signal.aborted) return;
    refusal =
      error instanceof WayleaveError
        ? error
        : new WayleaveError("internal", "Renewing the access token failed.", { cause: error });
    options.onRefused(refusal);
  }

  options.onToken(token);
  void loop();
  return {
    async current() {
      if (io.now() < goodUntil) return token.access_token;
      if (refusal !== undefined) throw refusal;
      await renew();
      return token.access_token;
    },
    stop: () => stopped.abort(),
  };
}
