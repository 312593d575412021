import { describe, expect, test } from "vitest";
import type { TokenResponse } from "../../api/contract.ts";
import { WayleaveError } from "../../core/errors.ts";
import { keepAccess } from "./access.ts";

const settle = () => new Promise(setImmediate);

/** A clock that moves only when told, with what happened meanwhile. */
function stage(renewals: (() => Promise<TokenResponse>)[]) {
  let now = 0;
  const waits: { until: number; resolve: () => void }[] = [];
  const tokens: string[] = [];
  const refused: string[] = [];
  const io = {
    now: () => now,
    pause: (ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve) => {
        waits.push({ until: now + ms, resolve });
        signal?.addEventListener("abort", () => resolve());
      }),
  };
  const access = keepAccess(io, {
    first: token("first", 300),
    renew: () => renewals.shift()?.() ?? Promise.reject(new WayleaveError("internal", "unexpected renewal")),
    onToken: ({ access_token }) => tokens.push(access_token),
    onRefused: ({ code }) => refused.push(code),
  });
  const advance = async (ms: number) => {
    now += ms;
    for (const wait of waits.filter(({ until }) => until <= now)) {
      waits.splice(waits.indexOf(wait), 1);
      wait.resolve();
    }
    await settle();
  };
  return { access, tokens, refused, advance };
}

function token(access_token: string, expires_in: number): TokenResponse {
  return {
    access_token,
    expires_in,
    issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
    token_type: "Bearer",
    scope: "",
    refresh_token: "r",
    session_id: "ses_0123456789abcdef",
    session_expires_at: "2099-01-01T00:00:00Z",
    record: "rec_000000000001",
    targets: [],
  };
}

const outage = () => Promise.reject(new WayleaveError("broker_unreachable", "away"));

describe("an access token", () => {
  test("is renewed at two thirds of its life, for three lifetimes", async () => {
    const { access, tokens, advance } = stage(["b", "c", "d"].map((name) => async () => token(name, 300)));
    await advance(199_999);
    expect(tokens).toEqual(["first"]);
    await advance(1);
    await advance(200_000);
    await advance(200_000);
    expect(tokens).toEqual(["first", "b", "c", "d"]);
    expect(await access.current()).toBe("d");
    access.stop();
  });

  test("outlives a network cut: the old one serves, then the renewal is tried until it succeeds", async () => {
    const { access, tokens, refused, advance } = stage([outage, outage, async () => token("b", 300)]);
    await advance(200_000);
    expect(await access.current()).toBe("first");
    await advance(3000);
    await advance(3000);
    expect([tokens, refused]).toEqual([["first", "b"], []]);
    access.stop();
  });

  test("that is over is waited for, not sent: callers share one renewal", async () => {
    const { access, advance } = stage([outage, async () => token("b", 300)]);
    await advance(200_000);
    await advance(100_000 - 1);
    await advance(1);
    expect(await Promise.all([access.current(), access.current()])).toEqual(["b", "b"]);
    access.stop();
  });

  test("refused by the broker is told once, and never served after its time", async () => {
    const { access, refused, advance } = stage([() => Promise.reject(new WayleaveError("session_ended", "over"))]);
    await advance(200_000);
    expect(refused).toEqual(["session_ended"]);
    await advance(100_000);
    await expect(access.current()).rejects.toMatchObject({ code: "session_ended" });
    access.stop();
  });

  test("is not renewed after the command", async () => {
    const { access, tokens, advance } = stage([async () => token("b", 300)]);
    access.stop();
    await advance(200_000);
    expect(tokens).toEqual(["first"]);
  });
});
