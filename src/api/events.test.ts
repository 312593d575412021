import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { EventEntry } from "../events/cause-table.ts";
import { jobIdentity, sessionId, startTime } from "../events/event-world.fake.ts";
import { SessionTable } from "../session/table.ts";
import { createApp } from "./app.ts";
import { type EmitRouteDeps, emitRoutes, eventRoutes } from "./events.ts";

const entry: EventEntry = {
  key: `deploy-image/IMAGES/17/${startTime}`,
  message: {
    event: "deploy-image",
    stream: "IMAGES",
    sequence: 17,
    stored_at: startTime,
    subject: "image.pushed.shop",
  },
  state: "dead",
  since: startTime,
  code: "ci_refused",
  detail: "GitLab refused the start (400).",
  attempt: 1,
  open: false,
  session: sessionId,
  job: { issuer: "gitlab", project_id: "1042", project: "acme/shop", pipeline_id: "5100", job_id: "7712" },
};

function app(routes: ReturnType<typeof eventRoutes>) {
  const made = createApp({ log: pino({ level: "silent" }), behindProxy: false, routes: [routes] });
  onTestFinished(() => made.close());
  return made;
}

describe("the operator", () => {
  const served = () =>
    app(
      eventRoutes({
        list: () => [entry],
        problems: () => [{ event: "deploy-image", problem: "stream not found" }],
        retry: async (key, by) => {
          if (key !== entry.key) throw new WayleaveError("not_found", "No such message.");
          const pipeline = { issuer: "gitlab", projectId: "2000", pipelineId: "5101" };
          return { ...entry, state: "started", detail: by, pipeline };
        },
      }),
    );

  test("lists what waits and what was given up, and what keeps events from being fetched", async () => {
    const response = await served().inject({ method: "GET", url: "/v1/events" });
    expect([response.statusCode, response.json()]).toEqual([
      200,
      {
        events: [
          {
            key: entry.key,
            event: "deploy-image",
            state: "dead",
            since: "2026-11-24T09:30:00.000Z",
            stream: "IMAGES",
            sequence: 17,
            subject: "image.pushed.shop",
            code: "ci_refused",
            detail: "GitLab refused the start (400).",
            attempts: 1,
            uncertain: false,
            session: sessionId,
            job: "acme/shop#7712",
          },
        ],
        problems: [{ event: "deploy-image", problem: "stream not found" }],
      },
    ]);
  });

  test("retries one, by its key", async () => {
    const retry = (payload: object) => served().inject({ method: "POST", url: "/v1/events/retry", payload });
    expect((await retry({ key: entry.key })).json()).toMatchObject({
      state: "started",
      pipeline: "gitlab/2000/5101",
      detail: "local operator",
    });
    expect((await retry({ key: "x" })).statusCode).toBe(404);
    expect((await retry({})).json()).toMatchObject({ code: "invalid_request" });
    expect((await retry({ key: entry.key, force: true })).statusCode).toBe(400);
  });
});

describe("a job", () => {
  function served(emit: EmitRouteDeps["emitter"]["emit"]) {
    const table = new SessionTable(() => 0);
    table.apply({
      v: 1,
      id: "rec_test00000001",
      seq: 1,
      time: "2026-11-24T09:30:00.000Z",
      kind: "session.opened",
      session: sessionId,
      data: {
        identity: jobIdentity(),
        hard_end_at: startTime + 1,
        replay_key: "r",
        replay_until: 0,
        refresh_hash: "h",
        roles: [],
        policy: "p",
        token: "t",
      },
    });
    return app(
      emitRoutes({
        issuerUrl: "https://wayleave.example",
        proof: async () => "jkt",
        find: (id) => table.find(id),
        async byRefreshToken(token) {
          const session = table.find(sessionId);
          if (token !== "wlr_good" || session === undefined) throw new WayleaveError("refresh_token_invalid", "No.");
          return session;
        },
        emitter: { emit },
      }),
    );
  }
  const send = (payload: object, authorization = "Bearer wlr_good") =>
    served(async ({ id }, request) => ({
      id: `emt_of_${id}`,
      target: "events",
      subject: JSON.stringify(request),
      record: "rec_1",
    })).inject({
      method: "POST",
      url: "/v1/events",
      headers: { authorization },
      payload,
    });

  test("publishes as the session it proves to be", async () => {
    const response = await send({ type: "image.pushed", data: { tag: null }, key: "0123456789" });
    expect(response.statusCode).toBe(200);
    expect(response.headers["cache-control"]).toBe("no-store");
    expect(response.json()).toEqual({
      id: `emt_of_${sessionId}`,
      target: "events",
      subject: JSON.stringify({ type: "image.pushed", data: { tag: null }, key: "0123456789" }),
      record: "rec_1",
    });
  });

  test.each([
    { what: "no credential", payload: { type: "a" }, authorization: "", status: 401 },
    { what: "another's refresh token", payload: { type: "a" }, authorization: "Bearer wlr_bad", status: 400 },
    { what: "no type", payload: {}, authorization: "Bearer wlr_good", status: 400 },
    {
      what: "an identity of its own",
      payload: { type: "a", session: "ses_x" },
      authorization: "Bearer wlr_good",
      status: 400,
    },
    {
      what: "a key that is no key",
      payload: { type: "a", key: "a b c d e f" },
      authorization: "Bearer wlr_good",
      status: 400,
    },
    {
      what: "half a megabyte",
      payload: { type: "a", data: "x".repeat(600_000) },
      authorization: "Bearer wlr_good",
      status: 413,
    },
  ])("with $what is refused with $status", async ({ payload, authorization, status }) => {
    expect((await send(payload, authorization)).statusCode).toBe(status);
  });
});
