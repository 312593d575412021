import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { trustingFetch } from "./trusting-fetch.ts";

const pem = (name: string): string => readFileSync(new URL(`./testdata/${name}`, import.meta.url), "utf8");
const caPem = pem("ca.pem");
const server = createServer({ cert: pem("server.pem"), key: pem("server-key.pem") }, (request, response) => {
  if (request.url === "/away") response.writeHead(302, { location: "/" });
  response.end(`hello ${request.headers["private-token"] ?? "nobody"}`);
});
let url = "";

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => new Promise((resolve) => server.close(resolve).closeAllConnections()));

test("a server of the private CA is trusted", async () => {
  const response = await trustingFetch({ caPem: `# our CA\n${caPem}\n` })(url, { headers: { "private-token": "me" } });
  expect(await response.text()).toBe("hello me");
});

test("without the CA the connection fails", async () => {
  await expect(trustingFetch({})(url)).rejects.toMatchObject({ cause: { code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" } });
});

test("redirects are the caller's to refuse", async () => {
  const fetchIt = trustingFetch({ caPem });
  expect((await fetchIt(`${url}/away`, { redirect: "manual" })).status).toBe(302);
  await expect(fetchIt(`${url}/away`, { redirect: "error" })).rejects.toThrow(TypeError);
});

test("the caller's signal is heeded", async () => {
  await expect(trustingFetch({ caPem })(url, { signal: AbortSignal.abort() })).rejects.toHaveProperty(
    "name",
    "AbortError",
  );
});

test.each([
  { what: "text", caPem: "our CA", says: "no certificate" },
  { what: "nothing", caPem: "", says: "no certificate" },
  { what: "a key", caPem: pem("server-key.pem"), says: "no certificate" },
  { what: "a damaged certificate", caPem: caPem.replace(/\n.{30}/, "\nAAAA"), says: "damaged" },
])("a ca_file with $what is refused at once", ({ caPem: text, says }) => {
  expect(() => trustingFetch({ caPem: text })).toThrow(
    expect.objectContaining({ code: "config_invalid", message: expect.stringContaining(says) }),
  );
});
