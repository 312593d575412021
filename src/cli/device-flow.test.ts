import { expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { type DeviceCode, deviceFlow } from "./device-flow.ts";

const issuer = "https://id.example";
const discovery = {
  issuer,
  token_endpoint: `${issuer}/token`,
  device_authorization_endpoint: `${issuer}/device`,
  jwks_uri: `${issuer}/keys`,
};
const device = {
  device_code: "dev",
  user_code: "ABCD-EFGH",
  verification_uri: `${issuer}/activate`,
  expires_in: 600,
  interval: 2,
};
const claims = { iss: issuer, sub: "u1", aud: "cli", iat: 1_800_000_000, exp: 4_000_000_000 };
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
const idToken = `${part({ alg: "RS256" })}.${part(claims)}.c2ln`;
const granted = { access_token: "at", token_type: "Bearer", id_token: idToken };

interface Answer {
  readonly status?: number;
  readonly body: object;
}

/** A directory that gives these answers at its token endpoint, one after the other. */
async function flow(
  tokens: readonly (Answer | Error)[],
  more: { discovery?: object; device?: Answer; clientSecret?: string } = {},
) {
  let clock = 0;
  const [pauses, bodies, shown]: [number[], string[], DeviceCode[]] = [[], [], []];
  const left = [...tokens];
  const answer = ({ status = 200, body }: Answer) =>
    new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json" } });
  const result = await deviceFlow(
    {
      now: () => clock,
      pause: async (ms) => {
        pauses.push(ms);
        clock += ms;
      },
    },
    {
      options: { issuer, client_id: "cli", scope: "openid profile" },
      ...(more.clientSecret === undefined ? {} : { clientSecret: more.clientSecret }),
      fetch: async (url, init) => {
        if (url.endsWith("openid-configuration")) return answer({ body: more.discovery ?? discovery });
        bodies.push(String((init as { body?: unknown }).body));
        if (url.endsWith("/device")) return answer(more.device ?? { body: device });
        const next = left.shift() ?? { status: 400, body: { error: "authorization_pending" } };
        if (next instanceof Error) throw next;
        return answer(next);
      },
      shown: (code) => shown.push(code),
    },
  ).catch((error: unknown) => {
    if (error instanceof WayleaveError) return `${error.code}: ${error.message}`;
    throw error;
  });
  return { result, pauses, bodies, shown };
}

const says = (error: string, status = 400): Answer => ({ status, body: { error } });

test("waits as long as the directory says, longer when told to slow down, and gives the ID token", async () => {
  const { result, pauses, shown, bodies } = await flow([
    says("authorization_pending"),
    says("slow_down"),
    says("authorization_pending"),
    { body: granted },
  ]);
  expect(result).toBe(idToken);
  expect(pauses).toEqual([2000, 2000, 7000, 7000]);
  expect(shown).toEqual([{ verification_uri: `${issuer}/activate`, user_code: "ABCD-EFGH", expires_in: 600 }]);
  expect(bodies[0]).toContain("scope=openid+profile");
  expect(bodies.join()).not.toContain("client_secret");
});

test("an application with a secret sends it, and only to the directory", async () => {
  const { bodies } = await flow([{ body: granted }], { clientSecret: "s3cret" });
  expect(bodies.every((body) => body.includes("client_secret=s3cret"))).toBe(true);
});

test.each<{ what: string; tokens?: readonly (Answer | Error)[]; more?: Parameters<typeof flow>[1]; told: RegExp }>([
  { what: "the person says no", tokens: [says("access_denied")], told: /^access_denied: .* refused there/ },
  { what: "the code is old", tokens: [says("expired_token")], told: /^access_denied: .* not used in its time/ },
  { what: "nobody comes", tokens: [], told: /^access_denied: The code was not used in its time/ },
  { what: "the application is unknown", tokens: [says("invalid_client", 401)], told: /^access_denied: .*secret/ },
  { what: "the flow is off", tokens: [says("unauthorized_client")], told: /^access_denied: .*switch it on/ },
  { what: "something else", tokens: [says("weird_thing")], told: /^access_denied: .*weird_thing/ },
  {
    what: "no ID token",
    tokens: [{ body: { ...granted, id_token: undefined } }],
    told: /^access_denied: .*scope openid/,
  },
  {
    what: "no device flow",
    more: { discovery: { ...discovery, device_authorization_endpoint: undefined } },
    told: /no device flow/,
  },
  {
    what: "another issuer",
    more: { discovery: { ...discovery, issuer: "https://evil.example" } },
    told: /^issuer_unreachable/,
  },
  {
    what: "the device endpoint refuses",
    more: { device: says("invalid_scope") },
    told: /^access_denied: .*invalid_scope/,
  },
  { what: "a broken answer", more: { device: { body: {} } }, told: /^issuer_unreachable/ },
  {
    what: "no network",
    tokens: [Object.assign(new TypeError("x"), { cause: { code: "ECONNREFUSED" } })],
    told: /ECONNREFUSED/,
  },
])("$what: told, and no token", async ({ tokens = [], more = {}, told }) => {
  expect((await flow(tokens, more)).result).toMatch(told);
});
