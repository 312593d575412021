import Fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import { expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { OperatorSignedIn } from "../core/operator-record.ts";
import { type OperatorRole, operatorRoles } from "../core/person.ts";
import type { AuditEvent } from "../core/record.ts";
import { operatorAccess } from "./operator-access.ts";
import { localOperator, type OperatorCaller, operatorText } from "./operator-caller.ts";
import { operatorGuard } from "./operator-guard.ts";

const who = { by: "person", iss: "https://id.example", sub: "u1", name: "dana" } as const;

function person(roles: readonly OperatorRole[]): OperatorCaller {
  return { who, roles, signIn: { sign_in: "sgn_0123456789abcdef" } as OperatorSignedIn };
}

/** The given routes behind the guard, with what was recorded. */
function guarded(
  caller: OperatorCaller | WayleaveError,
  options: {
    routes?: (app: FastifyInstance) => void;
    append?: () => Promise<void>;
    good?: () => boolean;
    prefix?: string;
  } = {},
) {
  const records: AuditEvent[] = [];
  const refused: string[] = [];
  const app = Fastify();
  const routes = async (inner: FastifyInstance) => (options.routes ?? everyRoute)(inner);
  const guard = operatorGuard([routes], {
    caller: async () => {
      if (caller instanceof WayleaveError) throw caller;
      return caller;
    },
    good: () => options.good?.() ?? true,
    onRefused: (error, action) => refused.push(`${error.code} ${action}`),
    append: async (event) => {
      await options.append?.();
      records.push(event);
    },
    note: (event) => records.push(event),
  });
  app.register(guard, { prefix: options.prefix ?? "" });
  return { app, records, refused };
}

function everyRoute(app: FastifyInstance): void {
  for (const key of Object.keys(operatorAccess)) {
    const [method = "", url = ""] = key.split(" ");
    app.route({ method, url, handler: async (request: FastifyRequest) => ({ by: operatorText(request) }) });
  }
}

const requests = Object.entries(operatorAccess).map(([key, access]) => {
  const [method = "", url = ""] = key.split(" ");
  return { key, method: method as "GET" | "POST", url: url.replaceAll(/:[a-z]+/g, "x"), ...access };
});

const stands: Readonly<Record<OperatorRole, readonly OperatorRole[]>> = {
  viewer: ["viewer"],
  auditor: ["viewer", "auditor"],
  approver: ["viewer", "approver"],
  operator: ["viewer", "auditor", "operator"],
};

test.each(operatorRoles)("%s may use its rows of the table and no other, below any prefix", async (role) => {
  const { app, records } = guarded(person([role]), { prefix: "/operator" });
  for (const { key, method, url, role: needed, action } of requests) {
    const answer = await app.inject({ method, url: `/operator${url}` });
    const may = stands[role].includes(needed);
    expect([key, answer.statusCode]).toEqual([key, may ? 200 : 403]);
    const data = { who, action, outcome: may ? "done" : "refused", request: `${method} /operator${url}` };
    expect(records.at(-1)).toMatchObject({ kind: "operator.action", data });
  }
});

test("only operators change anything", () => {
  const changes = requests.filter(({ method, asks, action }) => method !== "GET" && !asks && action !== "logout");
  expect(changes.length).toBeGreaterThan(5);
  expect(changes.filter(({ role }) => role !== "operator" && role !== "approver")).toEqual([]);
});

test("nobody without a role, and nobody at all, gets anywhere; the body is not even read", async () => {
  const nobody = guarded(person([]));
  const stranger = guarded(new WayleaveError("sign_in_required", "no"));
  for (const { method, url, action } of requests) {
    expect((await nobody.app.inject({ method, url })).statusCode).toBe(403);
    const payload = method === "POST" ? "{ not json" : undefined;
    const headers = { "content-type": "application/json" };
    const answer = await stranger.app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });
    expect([answer.statusCode, answer.json().code]).toEqual([401, "sign_in_required"]);
    expect(answer.headers["www-authenticate"]).toBe('DPoP algs="ES256"');
    expect(stranger.refused.at(-1)).toBe(`sign_in_required ${action}`);
  }
  expect(stranger.records).toEqual([]);
});

test("HEAD asks as GET does", async () => {
  const { app } = guarded(person(["viewer"]));
  expect((await app.inject({ method: "HEAD", url: "/v1/status" })).statusCode).toBe(200);
  expect((await app.inject({ method: "HEAD", url: "/v1/records" })).statusCode).toBe(403);
});

test.each(["/v1/policy/forget", "/v1/keys/:class", "/v1/__proto__"])("a route without a row: %s", async (url) => {
  const { app } = guarded(localOperator, {
    routes: (inner) => void inner.post(url, async () => ({})),
  });
  await expect(app.ready()).rejects.toThrow(`POST ${url} has no row in operatorAccess`);
});

test("the local operator's changes are recorded, what they look at is not", async () => {
  const { app, records } = guarded(localOperator);
  expect((await app.inject({ method: "POST", url: "/v1/policy/reload" })).json()).toEqual({ by: "local operator" });
  await app.inject({ method: "GET", url: "/v1/records" });
  await app.inject({ method: "POST", url: "/v1/can" });
  expect(records).toMatchObject([{ data: { who: { by: "local" }, action: "policy reload", outcome: "done" } }]);
});

test("what failed is recorded with its code, and who did it is told to the handler", async () => {
  const { app, records } = guarded(person(["operator"]), {
    routes: (inner) => {
      inner.post("/v1/policy/reload", async () => {
        throw new WayleaveError("policy_invalid", "one problem");
      });
      inner.post("/v1/keys/:class/prepare", async () => {
        throw new Error("a fault");
      });
      inner.post("/v1/sessions/:id/end", async (request) => ({ by: operatorText(request) }));
    },
  });
  await app.inject({ method: "POST", url: "/v1/policy/reload" });
  expect(records.at(-1)?.data).toMatchObject({ outcome: "refused", code: "policy_invalid", detail: "one problem" });
  await app.inject({ method: "POST", url: "/v1/keys/assertion/prepare" });
  expect(records.at(-1)?.data).toMatchObject({ outcome: "failed", code: "internal" });
  const ended = await app.inject({ method: "POST", url: "/v1/sessions/ses_1/end?because=x" });
  expect(ended.json()).toEqual({ by: "dana (u1 of https://id.example)" });
  expect(records.at(-1)?.data).toMatchObject({ request: "POST /v1/sessions/ses_1/end" });
});

test("a change that cannot be recorded is not answered as done", async () => {
  const { app } = guarded(person(["operator"]), {
    append: () => Promise.reject(new WayleaveError("journal_unavailable", "the disk is full")),
  });
  const answer = await app.inject({ method: "POST", url: "/v1/policy/reload" });
  expect([answer.statusCode, answer.json().code]).toEqual([503, "journal_unavailable"]);
});

test("what goes on for ever is recorded when it begins", async () => {
  const { app, records } = guarded(person(["auditor"]), {
    routes: (inner) =>
      void inner.get("/v1/records/stream", (_, reply) => {
        reply.hijack();
        reply.raw.end("{}");
      }),
  });
  await app.inject({ method: "GET", url: "/v1/records/stream" });
  expect(records).toMatchObject([{ data: { action: "audit tail", outcome: "done" } }]);
});

test("what goes on for ever ends with the sign-in of who reads it", async () => {
  let good = true;
  const { app } = guarded(person(["auditor"]), {
    good: () => good,
    routes: (inner) =>
      void inner.get("/v1/records/stream", (_, reply) => {
        reply.hijack();
        reply.raw.writeHead(200);
        reply.raw.write("first\n");
      }),
  });
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  const response = await fetch(`${url}/v1/records/stream`);
  const reader = response.body?.getReader();
  expect(new TextDecoder().decode((await reader?.read())?.value)).toBe("first\n");
  good = false;
  await expect(reader?.read()).rejects.toThrow("terminated");
  await app.close();
});
