import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import Provider from "oidc-provider";

/** Claims of the people of a directory, by account. */
export type Accounts = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** A real OpenID provider with the device flow, and the hands of the people who type codes there. */
export interface PeopleIssuer {
  /** Exact `iss`. */
  readonly url: string;
  readonly clientId: string;
  /** The person types the code and agrees. */
  approve(userCode: string, account: string): Promise<void>;
  /** The person says no. */
  deny(userCode: string): Promise<void>;
  /** A token that the same keys sign, with any claims: what else an issuer may be brought to sign. */
  sign(claims: Readonly<Record<string, unknown>>, typ?: string): Promise<string>;
  close(): Promise<void>;
}

export async function startPeopleIssuer(accounts: Accounts): Promise<PeopleIssuer> {
  const clientId = "wayleave-cli";
  const { privateKey } = await generateKeyPair("RS256", { extractable: true });
  const key = { ...(await exportJWK(privateKey)), kid: "people-1", alg: "RS256", use: "sig" };
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(url, {
    jwks: { keys: [key] },
    clients: [
      {
        client_id: clientId,
        token_endpoint_auth_method: "none",
        grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: false } },
    claims: { openid: ["sub"], profile: ["name", "email", "groups", "_claim_names", "_claim_sources"] },
    conformIdTokenClaims: false,
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...accounts[sub] }) }),
    cookies: { keys: ["only for a test"] },
    ttl: { DeviceCode: 600, IdToken: 600, AccessToken: 600, Grant: 600 },
  });
  provider.on("server_error", (_, error) => {
    throw error;
  });
  const handle = provider.callback();
  server.on("request", (request, response) => void handle(request, response));

  const codeOf = async (userCode: string) => {
    const code = await provider.DeviceCode.findByUserCode(userCode.replaceAll(/[^A-Z0-9]/g, ""));
    if (code === undefined) throw new TypeError("the issuer knows this code");
    return code;
  };
  return {
    url,
    clientId,
    async approve(userCode, account) {
      const code = await codeOf(userCode);
      const grant = new provider.Grant({ accountId: account, clientId });
      grant.addOIDCScope("openid profile");
      const now = Math.floor(Date.now() / 1000);
      Object.assign(code, { accountId: account, grantId: await grant.save(), scope: "openid profile", authTime: now });
      await code.save();
    },
    async deny(userCode) {
      const code = await codeOf(userCode);
      Object.assign(code, { error: "access_denied", errorDescription: "End-User aborted interaction" });
      await code.save();
    },
    sign: (claims, typ = "JWT") =>
      new SignJWT({ ...claims }).setProtectedHeader({ alg: "RS256", kid: "people-1", typ }).sign(privateKey),
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
