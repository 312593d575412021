import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { fakeDecisionPoint } from "../src/gateway/nginx/decision-point.fake.ts";
import { fakePolicy } from "../src/gateway/nginx/policy.fake.ts";
import { type Lab, type LabOptions, request, type Served, startLab } from "./nginx-lab.ts";

/** As each of Wayleave's access tokens begins. */
const ownToken = `${Buffer.from('{"alg":"ES256","typ":"at+jwt","kid":"k"}').toString("base64url")}.e30.x`;

let lab: Lab | undefined;
afterEach(async () => {
  await lab?.stop();
  lab?.nginx.remove();
  lab = undefined;
});

/** One observed and one enforced target at the same gateway. */
async function start(gateway: LabOptions["gateway"] = {}) {
  lab = await startLab({
    policy: fakePolicy([
      { name: "billing", mode: "observe" },
      { name: "ledger", mode: "enforce" },
    ]),
    decisionPoint: fakeDecisionPoint({ rights: [], observed: ["billing"] }),
    gateway,
    server: (upstream) => `
      location / { include @lab/wayleave/wayleave-location-billing.conf; proxy_pass ${upstream}; }
      location /ledger/ { include @lab/wayleave/wayleave-location-ledger.conf; proxy_pass ${upstream}; }`,
  });
  return { lab, port: lab.nginx.port };
}

/** One header of what the upstream served, by its exact name. */
function told(served: Served | undefined, name: string): string | undefined {
  const at = served?.rawHeaders.findIndex((text, index) => index % 2 === 0 && text === name) ?? -1;
  return at === -1 ? undefined : served?.rawHeaders[at + 1];
}

test.each([
  { what: "somebody else's Authorization", authorization: "Basic cGVvcGxl", sent: "Basic cGVvcGxl" },
  {
    what: "somebody else's token",
    authorization: "Bearer eyJhbGciOiJSUzI1NiJ9.e30.x",
    sent: "Bearer eyJhbGciOiJSUzI1NiJ9.e30.x",
  },
  { what: "a token of Wayleave's", authorization: `Bearer ${ownToken}`, sent: undefined },
  { what: "a token of Wayleave's in other letters", authorization: `bEARER \t ${ownToken}`, sent: undefined },
])("an observed target is served all the same, $what: $sent", async ({ authorization, sent }) => {
  const { lab, port } = await start();
  await lab.killDecisionPoint();
  const answer = await request(port, "POST /admin", {
    "Content-Length": "0",
    Authorization: authorization,
    "X-Wayleave-Subject": "spoofed",
    "Txn-Token": "spoofed",
  });
  expect(answer.status).toBe(200);
  const [served] = lab.served;
  expect(told(served, "Authorization")).toBe(sent);
  expect(told(served, "X-Wayleave-Decision")).toBe("outage");
  expect(JSON.stringify(served)).not.toContain("spoofed");
  await lab.stop();
  expect(lab.log()).toMatchObject([
    { status: "200", decision: "outage", reason: "outage", target: "billing", record: "" },
  ]);
});

test("an observed target is served also where something else answers in Wayleave's place", async () => {
  const impostor = createServer((_, response) => response.writeHead(500, { "Content-Type": "text/html" }).end("<h1>"));
  await new Promise<void>((resolve) => impostor.listen(0, "127.0.0.1", resolve));
  const { port: taken } = impostor.address() as AddressInfo;
  const { port } = await start({ brokerUrl: `http://127.0.0.1:${taken}` });
  expect((await request(port, "GET /v1/a")).status).toBe(200);
  await new Promise((resolve) => impostor.close(resolve).closeAllConnections());
});

test("an answer that an observed target does get still counts", async () => {
  const { lab, port } = await start({ name: "edge-2" });
  expect((await request(port, "GET /v1/a")).status).toBe(403);
  expect(lab.served).toEqual([]);
});

test("an enforced target at the same gateway is not served", async () => {
  const { lab, port } = await start();
  await lab.killDecisionPoint();
  expect((await request(port, "GET /ledger/1")).status).toBe(503);
  expect(lab.served).toEqual([]);
});
