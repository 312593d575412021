import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { opened } from "../credential/key-chain.fake.ts";
import { createApp } from "./app.ts";
import { discoveryRoutes } from "./discovery.ts";

test("key sets are those of the moment, public members only, and may be kept for as long as is said", async () => {
  const { chain } = await opened();
  const { jwks } = chain.ring;
  const none = { keys: [] };
  const routes = discoveryRoutes({
    issuerUrl: "https://wayleave.example",
    accessTokenJwks: jwks,
    assertionJwks: none,
    jwtSvidJwks: none,
    maxAgeSeconds: 60,
  });
  const app = createApp({ log: pino({ level: "silent" }), behindProxy: false, routes: [routes] });
  onTestFinished(() => app.close());
  const read = async (path: string) => {
    const { headers, json, body } = await app.inject(path);
    return { cache: headers["cache-control"], type: headers["content-type"], keys: json().keys.length as number, body };
  };
  expect(await read("/oauth2/jwks")).toMatchObject({ cache: "public, max-age=60", keys: 1 });
  await chain.prepare();
  const { body, ...two } = await read("/oauth2/jwks");
  expect(two).toEqual({ cache: "public, max-age=60", type: "application/jwk-set+json; charset=utf-8", keys: 2 });
  expect(body).not.toContain('"d":');
  await chain.revoke(chain.ring.kid, "local operator");
  expect(await read("/oauth2/jwks")).toMatchObject({ keys: 1 });
  for (const path of ["/assertion/jwks", "/svid/jwks"]) expect(await read(path)).toMatchObject({ keys: 0 });
});
