import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import * as oauth from "oauth4webapi";
import * as client from "openid-client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BindingLab, exchangeGrant, startBindingLab } from "./binding-lab.ts";

let lab: BindingLab;
let keys: Awaited<ReturnType<typeof client.randomDPoPKeyPair>>;

beforeAll(async () => {
  lab = await startBindingLab();
  keys = await client.randomDPoPKeyPair("ES256");
});
afterAll(() => lab?.close());

const discover = (issuer: string) =>
  client.discovery(new URL(issuer), "ci-job", undefined, client.None(), {
    algorithm: "oauth2",
    execute: [client.allowInsecureRequests],
  });
const exchange = async (
  config: client.Configuration,
  more: Readonly<Record<string, string>>,
  DPoP?: client.DPoPHandle,
) =>
  client.genericGrantRequest(
    config,
    exchangeGrant.grant_type,
    { ...exchangeGrant, subject_token: await lab.subjectToken(), ...more },
    DPoP === undefined ? {} : { DPoP },
  );
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "accepted",
    (error: { error?: string; code?: string; cause?: { code?: string } }) => error.error ?? error.code ?? String(error),
  );

describe("a client that knows only the specifications", () => {
  test("discovers, exchanges with DPoP, follows the nonce and refreshes", async () => {
    const config = await discover(lab.url);
    const DPoP = client.getDPoPHandle(config, keys);
    const first = await exchange(config, { audience: "ledger" }, DPoP);
    expect(first).toMatchObject({ token_type: "dpop", issued_token_type: expect.stringContaining("access_token") });
    const second = await client.refreshTokenGrant(
      config,
      String(first.refresh_token),
      { audience: "ledger" },
      { DPoP },
    );
    expect(second.refresh_token).toBe(first.refresh_token);
    expect(second.access_token).not.toBe(first.access_token);
    const bearer = await client.refreshTokenGrant(
      config,
      String(first.refresh_token),
      { audience: "billing" },
      { DPoP },
    );
    expect(bearer.token_type).toBe("bearer");
  });

  test("verifies a bound token with its proof as a resource does, by the published keys", async () => {
    const config = await discover(lab.url);
    const { access_token } = await exchange(config, { audience: "ledger" }, client.getDPoPHandle(config, keys));
    const as = config.serverMetadata() as oauth.AuthorizationServer;
    let sent: Request | undefined;
    await oauth.protectedResourceRequest(
      access_token,
      "GET",
      new URL("https://ledger.internal/v1/x"),
      undefined,
      null,
      {
        DPoP: oauth.DPoP({}, keys),
        [oauth.customFetch]: async (url, init) => {
          sent = new Request(url, init as RequestInit);
          return new Response();
        },
      },
    );
    if (sent === undefined) throw new TypeError("the request was made");
    const options = { [oauth.allowInsecureRequests]: true };
    const claims = await oauth.validateJwtAccessToken(as, sent, "ledger", options);
    expect(claims).toMatchObject({ iss: lab.url, aud: ["ledger"], cnf: { jkt: expect.any(String) } });
    await expect(oauth.validateJwtAccessToken(as, sent, "billing", options)).rejects.toThrow(/aud/);
    const stolen = new Request(sent, { headers: { authorization: `Bearer ${access_token}` } });
    await expect(oauth.validateJwtAccessToken(as, stolen, "ledger", options)).rejects.toThrow();
  });

  test("introspects as a gateway, by the client authentication that discovery names", async () => {
    const config = await discover(lab.url);
    const { access_token } = await exchange(config, { audience: "ledger" }, client.getDPoPHandle(config, keys));
    const as = config.serverMetadata() as oauth.AuthorizationServer;
    expect(as.introspection_endpoint_auth_methods_supported).toEqual(["client_secret_basic"]);
    const introspect = async (gateway: "edge-1" | "edge-2") => {
      const asker = { client_id: gateway };
      const auth = oauth.ClientSecretBasic(lab.secrets[gateway]);
      const options = { [oauth.allowInsecureRequests]: true };
      const answer = await oauth.introspectionRequest(as, asker, auth, access_token, options);
      return oauth.processIntrospectionResponse(as, asker, answer);
    };
    expect(await introspect("edge-1")).toMatchObject({ active: true, aud: ["ledger"], token_type: "DPoP" });
    expect(await introspect("edge-2")).toEqual({ active: false });
  });

  test("revokes its refresh token, and then has nothing", async () => {
    const config = await discover(lab.url);
    const { refresh_token = "" } = await exchange(config, {});
    await client.tokenRevocation(config, refresh_token);
    expect(await codeOf(client.refreshTokenGrant(config, refresh_token))).toBe("invalid_grant");
  });
});

describe("is told in its own words that it is refused", () => {
  test.each<{ why: string; more: Readonly<Record<string, string>>; error: string }>([
    { why: "a token of nobody", more: { subject_token: "a.b.c" }, error: "invalid_request" },
    { why: "a target that is none", more: { audience: "nothing" }, error: "invalid_target" },
    { why: "a role that it has not", more: { scope: "admin" }, error: "invalid_scope" },
    { why: "a target that wants proofs, without one", more: { audience: "ledger" }, error: "invalid_dpop_proof" },
    { why: "another kind of token", more: { requested_token_type: "urn:x" }, error: "invalid_request" },
  ])("$why", async ({ more, error }) => {
    expect(await codeOf(exchange(await discover(lab.url), more))).toBe(error);
  });

  test("a refresh with another key than that of the exchange", async () => {
    const config = await discover(lab.url);
    const { refresh_token = "" } = await exchange(config, {}, client.getDPoPHandle(config, keys));
    const other = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
    expect(await codeOf(client.refreshTokenGrant(config, refresh_token, {}, { DPoP: other }))).toBe(
      "invalid_dpop_proof",
    );
    expect(await codeOf(client.refreshTokenGrant(config, refresh_token))).toBe("invalid_dpop_proof");
  });

  test("an algorithm that discovery does not name", async () => {
    const config = await discover(lab.url);
    const rsa = client.getDPoPHandle(config, await client.randomDPoPKeyPair("RS256"));
    expect(await codeOf(exchange(config, {}, rsa))).toBe("invalid_dpop_proof");
  });
});

describe("refuses a broker that is another than it says", () => {
  test("whose metadata names another issuer", async () => {
    const response = await fetch(`${lab.url}/.well-known/oauth-authorization-server`);
    const metadata = (await response.json()) as object;
    const impostor = createServer((_request, answer) => {
      answer.setHeader("content-type", "application/json").end(JSON.stringify(metadata));
    });
    await new Promise<void>((resolve) => impostor.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = impostor.address() as AddressInfo;
      expect(await codeOf(discover(`http://127.0.0.1:${port}`))).toMatch(/OAUTH_JSON_ATTRIBUTE_COMPARISON/);
    } finally {
      await new Promise((resolve) => impostor.close(resolve));
    }
  });

  test("whose keys did not sign the token", async () => {
    const config = await discover(lab.url);
    const { access_token } = await exchange(config, { audience: "billing" });
    const { issuer } = config.serverMetadata();
    const as: oauth.AuthorizationServer = { issuer, jwks_uri: `${lab.url}/assertion/jwks` };
    const sent = new Request("https://billing.internal/", { headers: { authorization: `Bearer ${access_token}` } });
    const options = { [oauth.allowInsecureRequests]: true };
    await expect(oauth.validateJwtAccessToken(as, sent, "billing", options)).rejects.toThrow();
  });
});
