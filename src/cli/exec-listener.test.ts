import { writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { request } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createPrivateCa } from "../../demo/gitlab/certificate.ts";
import { exchangesOf, jobIo, within } from "./exec-harness.fake.ts";
import { type FakeBroker, fakeBroker } from "./job/broker.fake.ts";

let broker: FakeBroker;
const closing: (() => Promise<void>)[] = [];

beforeEach(async () => {
  broker = await fakeBroker();
});
afterEach(async () => {
  await Promise.all([broker.close(), ...closing.splice(0).map((close) => close())]);
});

interface Gateway {
  readonly url: string;
  readonly requests: { method: string; path: string; headers: IncomingHttpHeaders; body: string }[];
}

/** A gateway that answers 200, and 403 with a record for POST. */
async function gateway(): Promise<Gateway> {
  const requests: Gateway["requests"] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    requests.push({ method: request.method ?? "", path: request.url ?? "", headers: request.headers, body });
    if (request.method === "POST") {
      response
        .writeHead(403, { "x-wayleave-record": "rec_00000000000a", "x-wayleave-reason": "condition_failed" })
        .end("no");
    } else {
      response.writeHead(302, { location: "https://billing.internal/next", "x-upstream": "yes" }).end("hello");
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

describe("the listener of a target", () => {
  test("attaches the credential and the target's host, and changes nothing else", async () => {
    const edge = await gateway();
    await within(jobIo(broker), { target: [`billing=${edge.url}`] }, async (env) => {
      const answer = await fetch(`${env.WAYLEAVE_BILLING_URL}/v1/invoices/a%20b?x=%2F`, {
        method: "PUT",
        body: "payload",
        headers: { authorization: "Basic stolen", "x-mine": "1" },
        redirect: "manual",
      });
      expect([answer.status, await answer.text(), answer.headers.get("x-upstream")]).toEqual([302, "hello", "yes"]);
      expect(answer.headers.get("location")).toBe(`${env.WAYLEAVE_BILLING_URL}/next`);
    });
    const [request] = edge.requests;
    expect(request).toMatchObject({ method: "PUT", path: "/v1/invoices/a%20b?x=%2F", body: "payload" });
    expect(request?.headers).toMatchObject({ host: "billing.internal", "x-mine": "1" });
    expect(request?.headers.authorization).toMatch(/^Bearer eyJ/);
    expect(request?.headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  });

  test("shares its trace with the exchange", async () => {
    const edge = await gateway();
    await within(jobIo(broker), { target: [`billing=${edge.url}`] }, async (env) => {
      await fetch(`${env.WAYLEAVE_BILLING_URL}/`, { redirect: "manual" });
    });
    const trace = (header: unknown) => String(header).split("-")[1];
    expect(trace(edge.requests[0]?.headers.traceparent)).toBe(trace(exchangesOf(broker)[0]?.headers.traceparent));
  });

  test.each<{ what: string; path: (url: URL) => string; headers: Readonly<Record<string, string>> }>([
    { what: "without its secret path", path: () => "/v1/health", headers: {} },
    { what: "with a part of its secret path", path: (url) => `${url.pathname.slice(0, -1)}/v1/health`, headers: {} },
    { what: "with more than its secret path", path: (url) => `${url.pathname}x/v1/health`, headers: {} },
    { what: "with a foreign Host", path: (url) => `${url.pathname}/v1/health`, headers: { host: "evil.example" } },
    {
      what: "made by a web page",
      path: (url) => `${url.pathname}/v1/health`,
      headers: { origin: "https://evil.example" },
    },
  ])("refuses a request $what", async ({ path, headers }) => {
    const edge = await gateway();
    await within(jobIo(broker), { target: [`billing=${edge.url}`] }, async (env) => {
      const url = new URL(env.WAYLEAVE_BILLING_URL ?? "");
      const answer = await request(url.origin + path(url), { headers });
      expect(answer.statusCode).toBe(403);
      await answer.body.dump();
    });
    expect(edge.requests).toEqual([]);
  });

  test("prints a refusal in the job's own words, once for the same request", async () => {
    const edge = await gateway();
    const io = jobIo(broker);
    await within(io, { target: [`billing=${edge.url}`] }, async (env) => {
      await fetch(`${env.WAYLEAVE_BILLING_URL}/v1/releases`, { method: "POST" });
      await fetch(`${env.WAYLEAVE_BILLING_URL}/v1/releases`, { method: "POST" });
    });
    const printed = io.err().split("\n").slice(1).join("\n");
    expect(printed).toBe(
      `wayleave: denied  POST billing /v1/releases${" ".repeat(37)}rec_00000000000a
  you are    acme/shop · job release #7712
  failed     change.merged is false
  details    wayleave explain rec_00000000000a
`,
    );
  });

  test("answers 502 and says so when the gateway is away", async () => {
    const io = jobIo(broker);
    await within(io, { target: ["billing=http://127.0.0.1:1"] }, async (env) => {
      expect((await fetch(`${env.WAYLEAVE_BILLING_URL}/`)).status).toBe(502);
    });
    expect(io.err()).toContain("no answer  http://127.0.0.1:1, the gateway of billing, did not answer (ECONNREFUSED)");
  });
});

describe("a gateway over TLS", () => {
  const authority = createPrivateCa(Date.now());

  /** An HTTPS gateway with a certificate for these names; gives its address and counts what reaches it. */
  async function tlsGateway(names: readonly string[]) {
    const reached: (string | undefined)[] = [];
    const server = createTlsServer(authority.issue(names), (incoming, response) => {
      reached.push(incoming.headers.host);
      response.end("fine");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closing.push(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return { reached, address: `https://127.0.0.1:${(server.address() as AddressInfo).port}` };
  }

  const known = (folder: string): string => {
    const file = join(folder, "ca.pem");
    writeFileSync(file, authority.ca);
    return file;
  };

  test.each<{ what: string; names: readonly string[]; trusted: boolean; status: number }>([
    {
      what: "is reached by its address where its certificate names the target's host",
      names: ["billing.internal"],
      trusted: true,
      status: 200,
    },
    {
      what: "gets no token where its certificate names another host",
      names: ["edge.internal"],
      trusted: true,
      status: 502,
    },
    { what: "gets no token where its CA is unknown", names: ["billing.internal"], trusted: false, status: 502 },
  ])("$what", async ({ names, trusted, status }) => {
    const edge = await tlsGateway(names);
    const io = jobIo(broker);
    const caFile = trusted ? { caFile: known(io.cwd) } : {};
    await within(io, { target: [`billing=${edge.address}`], ...caFile }, async (env) => {
      expect((await fetch(`${env.WAYLEAVE_BILLING_URL}/v1/health`)).status).toBe(status);
    });
    expect(edge.reached).toEqual(status === 200 ? ["billing.internal"] : []);
  });
});

describe("refusals that no listener saw", () => {
  const denial = (record: string, operation: string) =>
    ({
      record,
      time: "2026-11-24T09:30:12.114Z",
      target: "billing",
      operation,
      outcome: "deny",
      reason: "no_role",
    }) as const;

  test("are printed from the session's own denials, also those of the last moment", async () => {
    const io = jobIo(broker);
    await within(io, {}, async () => {
      broker.deny(denial("rec_00000000000b", "POST /v1/releases"));
    });
    expect(io.err()).toContain("rec_00000000000b\n");
  });

  test("are printed once, though two commands of the job follow them", async () => {
    const io = jobIo(broker);
    await within(io, {}, async () => {
      await within(io, {}, async () => {
        broker.deny(denial("rec_00000000000c", "POST /v1/releases"));
      });
    });
    expect(io.err().match(/wayleave explain rec_00000000000c/g)).toHaveLength(1);
  });

  test("cannot steer the terminal", async () => {
    broker.refuse("/v1/session/decisions/rec_00000000000d", 503, "journal_unavailable", "later");
    const io = jobIo(broker);
    await within(io, {}, async () => {
      broker.deny(denial("rec_00000000000d", "POST /\u001b[2J\u202e"));
    });
    expect(io.err()).toContain("denied  POST billing /\ufffd[2J\ufffd");
  });
});
