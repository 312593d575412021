import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { type RunningNatsServer, startNatsServer } from "../demo/nats-server.ts";
import type { NatsWorld } from "../demo/nats-world.ts";
import { settled } from "./nats-proof-admin.ts";

/** What somebody shows nats-server in a CONNECT. */
export interface Shown {
  readonly name: string;
  readonly auth_token: string;
  readonly proxy_sig: string;
}

/** Somebody between the broker and its server: reads everything, and keeps what it likes. */
export interface Tap {
  /** Where the server really is. */
  readonly server: RunningNatsServer;
  /** The next CONNECT of a job's connection; it goes on only where `pass` is called. */
  nextTicket(): Promise<{ readonly shown: Shown; pass(): void }>;
  /** Connections of this name carry nothing any more, open ones and new ones, until the returned is called. */
  hold(name: string): () => void;
  close(): Promise<void>;
}

/** Moves the world's server to another port and sits at its old one. Closed, the server is where it was. */
export async function tapServer(world: NatsWorld): Promise<Tap> {
  const { port } = world.server;
  await world.stopServer();
  const server = await startNatsServer({ directory: join(world.directory, "nats"), config: "nats-server.conf" });
  const pairs = new Set<Pair>();
  const held = new Set<string>();
  let waiting: ((caught: { shown: Shown; pass(): void }) => void) | undefined;
  const tap = createServer((near) => {
    const pair = new Pair(near, connect(server.port, "127.0.0.1"));
    pairs.add(pair);
    near.once("close", () => pairs.delete(pair));
    near.once("data", (first: Buffer) => {
      const shown = connectOf(first);
      pair.name = shown.name;
      const pass = () => {
        pair.begin(first);
        if (held.has(shown.name)) pair.pause();
      };
      if (waiting === undefined || !shown.auth_token.startsWith("wlt_")) return pass();
      near.pause();
      waiting({ shown, pass });
      waiting = undefined;
    });
  }).listen(port, "127.0.0.1");
  await once(tap, "listening");
  await settled(world);
  return {
    server,
    nextTicket: () =>
      new Promise((resolve) => {
        waiting = resolve;
      }),
    hold(name) {
      const named = () => [...pairs].filter((pair) => pair.name === name);
      held.add(name);
      for (const pair of named()) pair.pause();
      return () => {
        held.delete(name);
        for (const pair of named()) pair.resume();
      };
    },
    async close() {
      tap.close();
      for (const pair of pairs) pair.destroy();
      await server.stop();
      await world.restartServer();
      await settled(world);
    },
  };
}

/** One connection and its other half. */
class Pair {
  name = "";
  readonly #near: Socket;
  readonly #far: Socket;

  constructor(near: Socket, far: Socket) {
    this.#near = near;
    this.#far = far;
    for (const socket of [near, far]) socket.on("error", () => undefined).on("close", () => this.destroy());
    far.on("data", (chunk) => near.write(chunk));
  }

  begin(first: Buffer): void {
    this.#far.write(first);
    this.#near.on("data", (chunk) => this.#far.write(chunk));
    this.#near.resume();
  }

  pause(): void {
    this.#near.pause();
    this.#far.pause();
  }

  resume(): void {
    this.#near.resume();
    this.#far.resume();
  }

  destroy(): void {
    this.#near.destroy();
    this.#far.destroy();
  }
}

function connectOf(bytes: Buffer): Shown {
  const line = /^CONNECT (\{.*\})/.exec(bytes.toString())?.[1] ?? "{}";
  return { name: "", auth_token: "", proxy_sig: "", ...(JSON.parse(line) as Partial<Shown>) };
}
