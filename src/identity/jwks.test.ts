import { describe, expect, test } from "vitest";
import { createKeySource, type KeySourceOptions } from "./jwks.ts";
import { ManualClock, signingKey, tableFetch } from "./subject-tokens.fake.ts";

const issuerUrl = "https://gitlab.example/root";
const discoveryUrl = `${issuerUrl}/.well-known/openid-configuration`;
const jwksUrl = "https://gitlab.example/root/oauth/discovery/keys";
const [first, second] = [signingKey("first"), signingKey("second")];
const down = () => {
  throw new TypeError("fetch failed", { cause: { code: "ECONNREFUSED", secret: "glpat-hidden" } });
};

function setUp(options: Partial<KeySourceOptions> = {}) {
  const clock = new ManualClock();
  const answers: Record<string, unknown> = {
    [discoveryUrl]: { issuer: issuerUrl, jwks_uri: jwksUrl },
    [jwksUrl]: { keys: [first.jwk] },
  };
  const { fetch, asked } = tableFetch(answers);
  const source = createKeySource({ issuerUrl, fetch, clock, ...options });
  const attempts = () => asked.filter((url) => url === discoveryUrl).length;
  return { clock, answers, source, attempts };
}

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "found",
    (error: { code?: string }) => error.code,
  );

describe("keys are fetched", () => {
  test("by nobody's asking, not at all", () => {
    expect(setUp().attempts()).toBe(0);
  });

  test("once for a hundred who ask at the same time", async () => {
    const { source, attempts } = setUp();
    const keys = await Promise.all(Array.from({ length: 100 }, () => source.keyFor("first", "RS256")));
    expect(attempts()).toBe(1);
    expect(new Set(keys).size).toBe(1);
  });

  test("not again while the copy is fresh", async () => {
    const { source, attempts, clock } = setUp();
    await source.keyFor("first", "RS256");
    clock.advance(299_999);
    await source.keyFor("first", "RS256");
    expect(attempts()).toBe(1);
  });

  test("again when the copy is no longer fresh, so that a withdrawn key is noticed", async () => {
    const { source, attempts, answers, clock } = setUp();
    await source.keyFor("first", "RS256");
    answers[jwksUrl] = { keys: [second.jwk] };
    clock.advance(300_000);
    expect(await code(source.keyFor("first", "RS256"))).toBe("subject_token_invalid");
    expect(attempts()).toBe(2);
  });
});

describe("an unknown kid", () => {
  test("is asked for at most once in 30 s, however many ask", async () => {
    const { source, attempts, clock } = setUp();
    await source.keyFor("first", "RS256");
    for (let second = 0; second < 30; second++) {
      expect(await code(source.keyFor(`made-up-${second}`, "RS256"))).toBe("subject_token_invalid");
      clock.advance(999);
    }
    expect(attempts()).toBe(1);
    clock.advance(1_000);
    const asked = Array.from({ length: 50 }, (_, at) => code(source.keyFor(`other-${at}`, "RS256")));
    expect(new Set(await Promise.all(asked))).toEqual(new Set(["subject_token_invalid"]));
    expect(attempts()).toBe(2);
  });

  test("is found after a rotation, by one attempt for all who wait", async () => {
    const { source, attempts, answers, clock } = setUp();
    await source.keyFor("first", "RS256");
    answers[jwksUrl] = { keys: [first.jwk, second.jwk] };
    clock.advance(30_000);
    await Promise.all(Array.from({ length: 20 }, () => source.keyFor("second", "RS256")));
    expect(attempts()).toBe(2);
  });

  test("is refused at once when a fresh JWKS no longer has it", async () => {
    const { source, answers, clock } = setUp();
    await source.keyFor("first", "RS256");
    answers[jwksUrl] = { keys: [second.jwk] };
    clock.advance(30_000);
    await source.keyFor("second", "RS256");
    expect(await code(source.keyFor("first", "RS256"))).toBe("subject_token_invalid");
  });

  test("is an outage, not a refusal, while the issuer cannot be asked", async () => {
    const { source, answers, clock } = setUp();
    await source.keyFor("first", "RS256");
    answers[discoveryUrl] = down;
    clock.advance(30_000);
    expect(await code(source.keyFor("second", "RS256"))).toBe("issuer_unreachable");
  });

  test("is quoted short and printable", async () => {
    const { source } = setUp();
    const error = await source.keyFor(`\u001b[31m${"x".repeat(500)}`, "RS256").catch((reason: Error) => reason);
    expect(error).toHaveProperty("message", expect.stringMatching(/^[\x20-\x7e…]{1,300}$/));
  });
});

describe("while the issuer is away", () => {
  test("the last good copy serves, asked for once in 30 s, and no longer than a day", async () => {
    const { source, attempts, answers, clock } = setUp();
    await source.keyFor("first", "RS256");
    answers[jwksUrl] = () => new Response("", { status: 502 });
    clock.advance(3_600_000);
    for (let at = 0; at < 10; at++) await source.keyFor("first", "RS256");
    expect(attempts()).toBe(2);
    expect(source.status()).toMatchObject({ keys: 1, failure: expect.stringContaining("502") });
    clock.advance(23 * 3_600_000 + 1);
    expect(await code(source.keyFor("first", "RS256"))).toBe("issuer_unreachable");
  });

  test("it is asked again soon when there is no copy, and then serves", async () => {
    const { source, attempts, answers, clock } = setUp();
    const discovery = answers[discoveryUrl];
    answers[discoveryUrl] = down;
    expect(await code(source.keyFor("first", "RS256"))).toBe("issuer_unreachable");
    expect(await code(source.keyFor("first", "RS256"))).toBe("issuer_unreachable");
    expect(attempts()).toBe(1);
    answers[discoveryUrl] = discovery;
    clock.advance(3_000);
    expect(await code(source.keyFor("first", "RS256"))).toBe("found");
    expect(source.status()).toEqual({ source: "fetched", keys: 1, fetchedAt: clock.now() });
  });

  test("the refusal names the cause, and nothing else of the failure", async () => {
    const { source, answers } = setUp();
    answers[discoveryUrl] = down;
    const error = await source.keyFor("first", "RS256").catch((reason: Error) => reason);
    expect(error).toHaveProperty("message", expect.stringContaining("the connection failed: ECONNREFUSED"));
    expect(String(error)).not.toContain("glpat-hidden");
  });

  test("an answer that never comes is given up", async () => {
    const clock = new ManualClock();
    const never: typeof fetch = (_input, init) =>
      new Promise((_resolve, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
    const source = createKeySource({ issuerUrl, fetch: never, clock, timeoutMs: 1 });
    await expect(source.keyFor("first", "RS256")).rejects.toMatchObject({
      code: "issuer_unreachable",
      message: expect.stringContaining("no answer within 1 ms"),
    });
  });
});

describe("a document is not used when", () => {
  const answer = (body: string, init?: ResponseInit) => () => new Response(body, init);
  test.each<{ what: string; url: string; answer: unknown; says: string }>([
    {
      what: "the issuer differs by a slash",
      url: discoveryUrl,
      answer: { issuer: `${issuerUrl}/`, jwks_uri: jwksUrl },
      says: "says the issuer is",
    },
    {
      what: "the issuer is missing",
      url: discoveryUrl,
      answer: { jwks_uri: jwksUrl },
      says: "says the issuer is nothing",
    },
    { what: "jwks_uri is missing", url: discoveryUrl, answer: { issuer: issuerUrl }, says: "no usable jwks_uri" },
    {
      what: "jwks_uri is http",
      url: discoveryUrl,
      answer: { issuer: issuerUrl, jwks_uri: "http://gitlab.example/keys" },
      says: "not https",
    },
    {
      what: "jwks_uri is http on loopback under an https issuer",
      url: discoveryUrl,
      answer: { issuer: issuerUrl, jwks_uri: "http://127.0.0.1/keys" },
      says: "not https",
    },
    {
      what: "jwks_uri is a file",
      url: discoveryUrl,
      answer: { issuer: issuerUrl, jwks_uri: "file:///etc/passwd" },
      says: "not https",
    },
    {
      what: "jwks_uri holds a password",
      url: discoveryUrl,
      answer: { issuer: issuerUrl, jwks_uri: "https://a:b@gitlab.example/" },
      says: "password",
    },
    {
      what: "discovery is a redirect",
      url: discoveryUrl,
      answer: answer("", { status: 302, headers: { location: jwksUrl } }),
      says: "answered 302",
    },
    {
      what: "the JWKS is a redirect",
      url: jwksUrl,
      answer: answer("", { status: 301, headers: { location: jwksUrl } }),
      says: "answered 301",
    },
    { what: "discovery is a page", url: discoveryUrl, answer: answer("<html>sign in</html>"), says: "is not JSON" },
    { what: "discovery is a list", url: discoveryUrl, answer: [], says: "no JSON object" },
    {
      what: "discovery names a key twice",
      url: discoveryUrl,
      answer: answer(`{"issuer":"${issuerUrl}","issuer":"x"}`),
      says: "names a key twice",
    },
    { what: "the JWKS is no JWKS", url: jwksUrl, answer: { keys: "none" }, says: "is no JWKS" },
    { what: "the JWKS is cut short", url: jwksUrl, answer: answer('{"keys":['), says: "is not JSON" },
    {
      what: "the JWKS is longer than 256 KiB",
      url: jwksUrl,
      answer: answer(`{"keys":[]}${" ".repeat(262_144)}`),
      says: "longer than 262144 bytes",
    },
    {
      what: "the JWKS has 101 keys",
      url: jwksUrl,
      answer: { keys: Array.from({ length: 101 }, () => first.jwk) },
      says: "101 keys",
    },
  ])("$what", async ({ url, answer: body, says }) => {
    const { source, answers } = setUp();
    answers[url] = body;
    await expect(source.keyFor("first", "RS256")).rejects.toMatchObject({
      code: "issuer_unreachable",
      message: expect.stringContaining(says),
    });
  });

  test("it fails after a good copy, which goes on serving", async () => {
    const { source, answers, clock } = setUp();
    await source.keyFor("first", "RS256");
    answers[discoveryUrl] = { issuer: "https://evil.example", jwks_uri: jwksUrl };
    answers[jwksUrl] = { keys: [second.jwk] };
    clock.advance(600_000);
    expect(await code(source.keyFor("first", "RS256"))).toBe("found");
  });
});

test("an issuer on loopback may serve its keys over http", async () => {
  const local = "http://127.0.0.1:3000";
  const { fetch } = tableFetch({
    [`${local}/.well-known/openid-configuration`]: { issuer: local, jwks_uri: `${local}/keys` },
    [`${local}/keys`]: { keys: [first.jwk] },
  });
  const source = createKeySource({ issuerUrl: local, fetch, clock: new ManualClock() });
  expect(await code(source.keyFor("first", "RS256"))).toBe("found");
});

test("a key is refused for an algorithm it is not published for", async () => {
  expect(await code(setUp().source.keyFor("first", "RS512"))).toBe("subject_token_invalid");
});

describe("uploaded keys", () => {
  test("serve without any fetch, for ever", async () => {
    const { source, attempts, clock } = setUp({ jwks: { keys: [second.jwk] } });
    clock.advance(365 * 86_400_000);
    expect(await code(source.keyFor("second", "RS256"))).toBe("found");
    expect(await code(source.keyFor("first", "RS256"))).toBe("subject_token_invalid");
    expect(attempts()).toBe(0);
    expect(source.status()).toEqual({ source: "uploaded", keys: 1 });
  });

  test.each([
    { what: "no JWKS", jwks: { kid: "x" } },
    { what: "a JWKS without a usable key", jwks: { keys: [{ kty: "oct", kid: "x", k: "AA" }] } },
  ])("are refused at once when they are $what", ({ jwks }) => {
    expect(() => setUp({ jwks })).toThrow(expect.objectContaining({ code: "config_invalid" }));
  });
});
