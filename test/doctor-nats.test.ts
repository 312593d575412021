import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAccount, createCurve } from "@nats-io/nkeys";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createPrivateCa } from "../demo/gitlab/certificate.ts";
import { natsServerVersion, type RunningNatsServer, startNatsServer } from "../demo/nats-server.ts";
import { examine } from "../src/cli/doctor-checks.ts";
import { natsFacts } from "../src/cli/doctor-gather-nats.ts";
import type { Config, NatsGatewayConfig } from "../src/config/config.ts";

let directory = "";
let server: RunningNatsServer | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-doctor-nats-"));
});

afterEach(async () => {
  await server?.stop();
  server = undefined;
  rmSync(directory, { recursive: true, force: true });
});

async function start(config: string): Promise<number> {
  writeFileSync(join(directory, "nats.conf"), config);
  server = await startNatsServer({ directory, config: "nats.conf" });
  return server.port;
}

/** What the doctor finds of a server at a port, with no broker to ask. */
async function found(port: number, more: { readonly tls?: boolean; readonly serverCa?: string } = {}) {
  const { tls = false, ...ca } = more;
  const gateway = {
    name: "nats-1",
    kind: "nats",
    direct: false,
    listen: { host: "127.0.0.1", port: 4222 },
    servers: [{ host: "127.0.0.1", port, tls }],
    ...ca,
  } as unknown as NatsGatewayConfig;
  const nats = (await natsFacts({ gateways: [gateway] } as unknown as Config, [])) ?? [];
  const results = examine({ now: Date.now(), nats });
  return {
    facts: nats[0]?.servers[0],
    of: (name: string) => results.find((check) => check.name === name),
  };
}

const callout = `authorization { timeout: 0.3, auth_callout { issuer: ${createAccount().getPublicKey()}, account: AUTH, auth_users: [ auth ], xkey: ${createCurve().getPublicKey()} } }`;

describe("a nats-server's door", () => {
  test.each([
    {
      why: "without any authentication",
      config: "",
      letIn: ["without any credential", "with a token of its own making", "with a name and password of its own making"],
    },
    {
      why: "with a user for everybody who names none",
      config: `accounts { JOBS { users: [ { user: anybody, password: secret } ] } }\nno_auth_user: anybody\n`,
      letIn: ["without any credential"],
    },
    { why: "with users of its own", config: `authorization { user: boss, password: secret }\n`, letIn: [] },
    { why: "with one token", config: "authorization { token: secret }\n", letIn: [] },
    {
      why: "with a callout that nobody answers",
      config: `accounts { AUTH { users: [ { user: auth, password: secret } ] }, JOBS {} }\n${callout}\n`,
      letIn: [],
    },
  ])("$why lets in $letIn", async ({ config, letIn }) => {
    const { facts, of } = await found(await start(config));
    // A server takes no token where it knows users by name, and some it takes for nobody.
    expect(letIn.filter((client) => facts?.letIn.includes(client) !== true)).toEqual([]);
    if (letIn.length === 0) expect(facts?.letIn).toEqual([]);
    expect(of("nats_door")?.result).toBe(letIn.length === 0 ? "ok" : "fail");
    expect(facts?.version).toBe(natsServerVersion());
    expect(of("nats_version")?.result).toBe("ok");
  });
});

describe("a nats-server with TLS", () => {
  async function startTls() {
    const { ca, issue } = createPrivateCa(Date.now());
    const { cert, key } = issue(["127.0.0.1"]);
    writeFileSync(join(directory, "cert.pem"), cert);
    writeFileSync(join(directory, "key.pem"), key);
    const tls = `tls { cert_file: "${join(directory, "cert.pem")}", key_file: "${join(directory, "key.pem")}" }`;
    return { port: await start(`${tls}\nauthorization { token: secret }\n`), ca };
  }

  test("is asked through it", async () => {
    const { port, ca } = await startTls();
    const { facts, of } = await found(port, { tls: true, serverCa: ca });
    expect(facts).toMatchObject({ letIn: [], version: natsServerVersion() });
    expect(of("nats_version")?.result).toBe("ok");
  });

  test("that nobody trusts is not asked", async () => {
    const { port } = await startTls();
    const { facts } = await found(port, { tls: true });
    expect(facts).toMatchObject({ letIn: [], problem: expect.stringContaining("not trusted") });
  });
});

test("a server that serves no TLS where the configuration says so is told", async () => {
  const { facts, of } = await found(await start(""), { tls: true });
  expect(facts).toMatchObject({ letIn: [], problem: expect.stringContaining("serves no TLS") });
  expect(of("nats_version")?.result).toBe("warn");
});

describe("what is no nats-server", () => {
  const answers: Readonly<Record<string, (socket: Socket) => void>> = {
    "one that hangs up": (socket) => socket.destroy(),
    "one that speaks HTTP": (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"),
    "one that says what is no JSON": (socket) => socket.write("INFO {nonsense\r\n"),
    "one that sends without end": (socket) => socket.write("x".repeat(100_000)),
  };

  test.each(Object.keys(answers))("%s gives no answer", async (name) => {
    const sockets = new Set<Socket>();
    const fake = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => undefined);
      answers[name]?.(socket);
    });
    await new Promise<void>((resolve) => fake.listen(0, "127.0.0.1", resolve));
    try {
      const { facts, of } = await found((fake.address() as AddressInfo).port);
      expect(facts).toMatchObject({ letIn: [], problem: expect.stringMatching(/no answer/) });
      expect(of("nats_version")?.result).toBe("warn");
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => fake.close(resolve));
    }
  });

  test("nobody gives no answer", async () => {
    const { of } = await found(1);
    expect(of("nats_version")).toMatchObject({
      result: "warn",
      findings: [{ says: expect.stringContaining("gives no answer") }],
    });
    expect(of("nats_door")?.result).toBe("skipped");
  });
});
