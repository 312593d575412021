import { once } from "node:events";
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, createServer as createTcp, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { httpTarget, startProxyLab, startService } from "./proxy-lab.ts";
import { type Asked, ask, atEnd, labBefore, policy } from "./proxy-requests.ts";

/** The proxy between clients and services that are slow, dead or sly; each test with its own. */
async function bytesService(serve: (socket: Socket, request: string) => void): Promise<number> {
  const server = createTcp((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => serve(socket, chunk.toString("latin1")));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  atEnd(() => server.close());
  return (server.address() as AddressInfo).port;
}

describe("a service that fails is no denial", () => {
  const refused = async (port: number, asked?: Asked, limits = {}) => {
    const lab = await startProxyLab({ policy, targets: [httpTarget("billing", port)], limits });
    atEnd(() => lab.close());
    lab.open("good");
    return ask(lab.port, asked);
  };

  test("dead: 502", async () => {
    const gone = await startService();
    gone.server.close();
    const { status, headers, text } = await refused(gone.port);
    expect([status, headers["x-wayleave-upstream"], headers["x-wayleave-decision"]]).toEqual([
      502,
      "unreachable",
      "allow",
    ]);
    expect(JSON.parse(text)).toMatchObject({ code: "upstream_unreachable" });
  });

  test("silent: 504", async () => {
    const port = await bytesService(() => undefined);
    const { status, headers } = await refused(port, {}, { answerMs: 100 });
    expect([status, headers["x-wayleave-upstream"]]).toEqual([504, "timeout"]);
  });

  test.each([
    ["closes without an answer", ""],
    ["says no HTTP", "hello\r\n\r\n"],
    ["has two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nabcde"],
    ["has a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["has a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde"],
    ["has a header without a colon", "HTTP/1.1 200 OK\r\nX\r\n\r\n"],
    ["switches protocols unasked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
    ["has endless headers", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(20_000)}\r\n`],
  ])("one that %s: 502", async (_name, bytes) => {
    const port = await bytesService((socket) => void socket.end(bytes));
    const { status, headers } = await refused(port);
    expect([status, headers["x-wayleave-upstream"]]).toEqual([502, "broken"]);
  });

  test("one that breaks off within its answer: the client sees that it is not whole", async () => {
    const port = await bytesService((socket) => void socket.end("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"));
    await expect(refused(port)).rejects.toThrow();
  });

  test("what it sends behind its answer is no answer to the next request", async () => {
    let asked = 0;
    const port = await bytesService((socket, request) => {
      asked += 1;
      const forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
      const honest = `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${request.includes("/v1/first") ? "A1" : "B2"}`;
      socket.write(request.includes("/v1/first") ? honest + forged : honest);
    });
    const lab = await startProxyLab({ policy, targets: [httpTarget("billing", port)] });
    atEnd(() => lab.close());
    lab.open("good");
    const first = await ask(lab.port, { path: "/v1/first" });
    const second = await ask(lab.port, { path: "/v1/second" });
    expect([first.text, second.text, asked]).toEqual(["A1", "B2", 2]);
  });

  test("an answer before the request's end closes that connection", async () => {
    const { lab, service } = await labBefore((_request, response) => response.end("early"));
    const answered = await ask(lab.port, {
      method: "POST",
      body: "x".repeat(900_000),
      headers: { "content-length": "900000" },
    });
    expect(answered.text).toBe("early");
    expect((await ask(lab.port)).text).toBe("early");
    expect(service.served).toHaveLength(2);
  });

  test("it cannot speak for Wayleave", async () => {
    const { lab } = await labBefore((_request, response) => {
      response.writeHead(403, {
        "X-Wayleave-Record": "forged",
        "x-wayleave-reason": "denied",
        "Txn-Token": "forged",
        Connection: "X-Hop",
        "X-Hop": "1",
        "X-Own": "2",
      });
      response.end();
    });
    const { status, headers } = await ask(lab.port);
    expect([status, headers["x-own"], headers["x-hop"]]).toEqual([403, "2", undefined]);
    expect(JSON.stringify(headers)).not.toContain("forged");
  });
});

describe("bounds", () => {
  test("an upload that lasts needs the right to a stream", async () => {
    const { lab, service } = await labBefore((request, response) =>
      request.resume().on("end", () => response.end("all")),
    );
    const chunked = { "transfer-encoding": "chunked" };
    const big = "x".repeat(1_200_000);
    const short = await ask(lab.port, { method: "POST", headers: chunked, body: big }).catch(() => ({ status: 403 }));
    expect(short.status).toBe(403);
    expect((await ask(lab.port, { method: "POST", path: "/s/a", headers: chunked, body: big })).text).toBe("all");
    expect(service.served).toHaveLength(2);
    expect(lab.records.map(({ data }) => "reason" in data && data.reason)).toEqual([
      "allowed",
      "stream_refused",
      "allowed",
      "allowed",
    ]);
  });

  test.each([
    ["a long answer", { "content-length": "2000000" }],
    ["an event stream", { "content-type": "text/event-stream" }],
  ])("%s needs it as well", async (_name, headers) => {
    const { lab } = await labBefore((_request, response) => response.writeHead(200, headers).write("data: x\n\n"));
    const refused = await ask(lab.port);
    expect([refused.status, refused.headers["x-wayleave-reason"]]).toEqual([403, "stream_refused"]);
    const request = httpRequest({
      port: lab.port,
      path: "/s/a",
      headers: { host: "billing.internal", authorization: "Bearer good" },
    });
    request.on("error", () => undefined).end();
    const [response] = (await once(request, "response")) as [IncomingMessage];
    expect(response.statusCode).toBe(200);
    request.destroy();
  });

  test("an exchange that takes too long needs it as well", async () => {
    const { lab } = await labBefore(() => undefined, { limits: { exchangeMs: 60 } });
    const { status, headers } = await ask(lab.port);
    expect([status, headers["x-wayleave-reason"]]).toEqual([403, "stream_refused"]);
  });

  test("a slow reader stops the service, and nothing is kept for it", async () => {
    let written = 0;
    const { lab } = await labBefore((_request, response) => {
      const chunk = Buffer.alloc(65_536);
      const more = () => {
        while (!response.destroyed && response.write(chunk)) written += chunk.length;
      };
      response.on("drain", more);
      more();
    });
    const socket = connect(lab.port, "127.0.0.1");
    socket.write("GET /s/a HTTP/1.1\r\nHost: billing.internal\r\nAuthorization: Bearer good\r\n\r\n");
    await once(socket, "readable");
    let before = -1;
    while (before !== written) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(written).toBeLessThan(64 * 1024 * 1024);
    socket.destroy();
    while (lab.proxy.open() > 0) await new Promise(setImmediate);
  });

  test("a client that goes away ends what it asked for", async () => {
    let closed: Promise<unknown> | undefined;
    const { lab } = await labBefore((request) => {
      closed = once(request.socket, "close");
    });
    const socket = connect(lab.port, "127.0.0.1");
    socket.write("GET /v1/a HTTP/1.1\r\nHost: billing.internal\r\nAuthorization: Bearer good\r\n\r\n");
    while (closed === undefined) await new Promise(setImmediate);
    socket.destroy();
    await closed;
    while (lab.proxy.open() > 0) await new Promise(setImmediate);
  });
});

describe("stopping", () => {
  test("what is open finishes, nothing new begins, and idle connections are closed", async () => {
    let answer: (() => void) | undefined;
    const { lab } = await labBefore((request, response) => {
      if (request.url === "/v1/slow") answer = () => response.end("done");
      else response.end("x");
    });
    const agent = new Agent({ keepAlive: true });
    await ask(lab.port, { agent });
    const slow = ask(lab.port, { path: "/v1/slow" });
    while (answer === undefined) await new Promise(setImmediate);
    const closing = lab.proxy.close();
    await expect(ask(lab.port)).rejects.toThrow();
    answer();
    const { text, headers } = await slow;
    expect([text, headers.connection]).toEqual(["done", "close"]);
    await closing;
    agent.destroy();
  });

  test("what does not finish in time is cut", async () => {
    const { lab } = await labBefore(() => undefined, { limits: { drainMs: 50 } });
    const hanging = ask(lab.port).catch(() => "cut");
    while (lab.proxy.open() === 0) await new Promise(setImmediate);
    await lab.proxy.close();
    expect(await hanging).toBe("cut");
    expect(lab.proxy.open()).toBe(0);
  });
});
