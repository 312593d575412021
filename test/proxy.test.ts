import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { describe, expect, test } from "vitest";
import { httpTarget, sendRaw, startProxyLab, startService } from "./proxy-lab.ts";
import { type Asked, ask, atEnd, labBefore, policy } from "./proxy-requests.ts";

/** What goes through the proxy, and what a client gets that may not. */
describe("what the service gets", () => {
  test("the very bytes that were decided, and who asks, but no credential", async () => {
    const { lab, service } = await labBefore();
    const path = "/v1/a%20b/%C3%BC?x=/../y&z=%2e";
    const answered = await ask(lab.port, { path, headers: { "x-own": ["1", "2"], cookie: ["a=1", "b=2"] } });
    expect([answered.status, answered.text]).toEqual([200, "served\n"]);
    const [served] = service.served;
    expect(served?.url).toBe(path);
    const fields = fieldsOf(served?.rawHeaders ?? []);
    expect(fields).toMatchObject({
      host: ["billing.internal"],
      "x-own": ["1", "2"],
      cookie: ["a=1; b=2"],
      "x-forwarded-for": ["127.0.0.1"],
      "x-forwarded-proto": ["http"],
      "x-wayleave-decision": ["allow"],
      "x-wayleave-role": ["read"],
      "x-wayleave-session": ["ses_good"],
      "x-wayleave-job": ["acme/shop#7712"],
      "x-wayleave-record": ["rec_000000000001"],
      traceparent: [expect.stringMatching(/^00-/)],
    });
    expect(fields.authorization).toBeUndefined();
    expect(lab.records).toMatchObject([{ kind: "decision", data: { gateway: "front", outcome: "allow" } }]);
  });

  test("its own key, and the job's token in the header that the target says", async () => {
    const service = await startService();
    atEnd(service.close);
    const lab = await startProxyLab({
      policy,
      targets: [
        httpTarget("billing", service.port, {
          credentialHeader: "x-job-token",
          upstreamAuth: { header: "authorization", value: "Bearer the-service's" },
        }),
      ],
    });
    atEnd(() => lab.close());
    lab.open("good");
    const headers = { "x-job-token": "good", authorization: "Bearer mine", x_job_token: "good" };
    expect((await ask(lab.port, { headers })).status).toBe(200);
    const fields = fieldsOf(service.served[0]?.rawHeaders ?? []);
    expect(fields.authorization).toEqual(["Bearer the-service's"]);
    expect(JSON.stringify(fields)).not.toMatch(/Bearer good|mine|job.token/);
    expect((await ask(lab.port, { headers: { "x-job-token": "bad" } })).status).toBe(401);
    expect((await ask(lab.port, { headers: { "x-job-token": ["good", "good"] } })).status).toBe(403);
    expect((await ask(lab.port)).status).toBe(401);
    expect(service.served).toHaveLength(1);
  });

  test("no key of the service's for whoever only passes", async () => {
    const service = await startService();
    atEnd(service.close);
    const upstreamAuth = { header: "x-key", value: "secret" };
    const targets = ["shared", "observed"].map((name) => httpTarget(name, service.port, { upstreamAuth }));
    const lab = await startProxyLab({ policy, targets });
    atEnd(() => lab.close());
    lab.open("good");
    const anonymous = { authorization: "Basic eA==", "x-key": "guessed" };
    expect((await ask(lab.port, { path: "/health", headers: { host: "shared.internal", ...anonymous } })).status).toBe(
      200,
    );
    expect((await ask(lab.port, { path: "/y", headers: { host: "observed.internal", ...anonymous } })).status).toBe(
      200,
    );
    expect((await ask(lab.port, { path: "/x", headers: { host: "observed.internal" } })).status).toBe(200);
    const keys = service.served.map(({ rawHeaders }) => fieldsOf(rawHeaders)["x-key"]);
    expect(keys).toEqual([undefined, undefined, ["secret"]]);
    expect(fieldsOf(service.served[0]?.rawHeaders ?? []).authorization).toEqual(["Basic eA=="]);
  });

  test("bodies of every length, in both directions, over both versions", async () => {
    const { lab } = await labBefore((request, response) => request.pipe(response));
    const body = "x".repeat(200_000);
    expect((await ask(lab.port, { method: "POST", body, headers: { "content-length": "200000" } })).text).toBe(body);
    expect((await ask(lab.port, { method: "POST", body, headers: { "transfer-encoding": "chunked" } })).text).toBe(
      body,
    );
    expect((await ask(lab.port, { method: "POST", body: "" })).text).toBe("");
    const client = connectHttp2(`http://127.0.0.1:${lab.port}`);
    const stream = client.request({
      ":method": "POST",
      ":path": "/v1/a",
      ":authority": "billing.internal",
      authorization: "Bearer good",
    });
    stream.end(body);
    let text = "";
    for await (const chunk of stream) text += chunk;
    client.close();
    expect(text).toBe(body);
  });

  test("a body only after the decision, where the client waits for leave", async () => {
    const { lab, service } = await labBefore((request, response) => request.pipe(response));
    const bytes = (path: string) =>
      `POST ${path} HTTP/1.1\r\nHost: billing.internal\r\nAuthorization: Bearer good\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi`;
    expect(await sendRaw(lab.port, bytes("/v1/a"))).toMatch(/^HTTP\/1\.1 100 [\s\S]*200 OK[\s\S]*\r\nhi\r\n0\r\n\r\n$/);
    const refused = await sendRaw(lab.port, bytes("/admin"));
    expect(refused).toMatch(/^HTTP\/1\.1 403 /);
    expect(refused).not.toContain("100 Continue");
    expect(service.served).toHaveLength(1);
  });
});

describe("what a refused client gets", () => {
  test.each([
    ["no credential", { headers: { authorization: "" } }, 401, "no_credential"],
    ["no right", { path: "/admin" }, 403, "no_role"],
    ["another host", { headers: { host: "other.internal" } }, 403, "target_unknown"],
    [
      "a stream without the right to one",
      { method: "POST", headers: { "content-length": "2000000" }, body: "" },
      403,
      "stream_refused",
    ],
  ])("%s", async (_name, asked: Asked, status, reason) => {
    const { lab, service } = await labBefore();
    const answered = await ask(lab.port, asked).catch((error: NodeJS.ErrnoException) => error);
    if (answered instanceof Error) throw answered;
    expect(answered.status).toBe(status);
    expect(answered.headers).toMatchObject({
      "x-wayleave-decision": "deny",
      "x-wayleave-reason": reason,
      "x-wayleave-record": "rec_000000000001",
      "content-type": "application/problem+json",
      "cache-control": "no-store",
    });
    expect(JSON.parse(answered.text)).toMatchObject({
      status,
      code: reason,
      record: "rec_000000000001",
      next: expect.anything(),
    });
    expect(service.served).toEqual([]);
  });

  test("a used-up limit says when to come again", async () => {
    const { lab } = await labBefore();
    expect((await ask(lab.port, { path: "/once" })).status).toBe(200);
    const { status, headers } = await ask(lab.port, { path: "/once" });
    expect([status, headers["x-wayleave-reason"]]).toEqual([429, "limit_exceeded"]);
    expect(Number(headers["retry-after"])).toBeGreaterThan(0);
  });

  test("gRPC: 200 with grpc-status 7, trailers only", async () => {
    const { lab } = await labBefore();
    const client = connectHttp2(`http://127.0.0.1:${lab.port}`);
    const call = (authorization: string) =>
      client.request({
        ":method": "POST",
        ":path": "/acme.X/Y",
        ":authority": "billing.internal",
        "content-type": "application/grpc",
        authorization,
      });
    const [denied] = await once(call("Bearer good"), "response");
    expect(denied).toMatchObject({ ":status": 200, "grpc-status": "7", "x-wayleave-reason": "no_role" });
    expect(decodeURIComponent(denied["grpc-message"])).toContain("explain rec_");
    const [unknown] = await once(call("Bearer bad"), "response");
    expect(unknown).toMatchObject({ ":status": 200, "grpc-status": "16" });
    client.destroy();
  });
});

function fieldsOf(rawHeaders: readonly string[]): Record<string, string[]> {
  const fields: Record<string, string[]> = {};
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] as string).toLowerCase();
    fields[name] = [...(fields[name] ?? []), rawHeaders[at + 1] as string];
  }
  return fields;
}
