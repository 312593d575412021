import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type ConnectionOptions, connect, credsAuthenticator, type NatsConnection } from "@nats-io/transport-node";

/** As much of the `nats` command as the guides use, in its own words: none of it can be installed from npm or a wheel. */
const options = {
  server: { type: "string" },
  creds: { type: "string" },
  token: { type: "string" },
  timeout: { type: "string" },
  subjects: { type: "string" },
  "max-bytes": { type: "string" },
  "max-age": { type: "string" },
  defaults: { type: "boolean" },
  pull: { type: "boolean" },
  raw: { type: "boolean" },
} as const;
const { values, positionals } = parseArgs({ options, allowPositionals: true });
const { NATS_URL, NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CREDS } = process.env;

const print = (text: string) => process.stdout.write(`${text}\n`);
const say = (text: string) => process.stderr.write(`${new Date().toTimeString().slice(0, 8)} ${text}\n`);

function login(): ConnectionOptions {
  const creds = values.creds ?? NATS_CREDS;
  const token = values.token ?? NATS_TOKEN;
  if (creds !== undefined) return { authenticator: credsAuthenticator(readFileSync(creds)) };
  if (NATS_USER !== undefined) return { user: NATS_USER, pass: NATS_PASSWORD ?? "" };
  return token === undefined ? {} : { token };
}

const connection = await connect({
  servers: values.server ?? NATS_URL ?? "127.0.0.1:4222",
  ...login(),
  reconnect: false,
}).catch((error: Error) => failed(error.message));

/** The error that the server's next words bring, if any. */
const refused = Promise.withResolvers<string>();
void (async () => {
  for await (const status of connection.status()) if (status.type === "error") refused.resolve(status.error.message);
})();

const [noun = "", ...rest] = positionals;
await verbs(connection)[["stream", "consumer"].includes(noun) ? `${noun} ${rest.shift()}` : noun]?.(...rest);
await connection.drain();

function verbs(nats: NatsConnection): Readonly<Record<string, (...args: string[]) => Promise<void>>> {
  return {
    pub: async (subject = "", body = "") => {
      nats.publish(subject, body);
      await flushed();
      say(`Published ${body.length} bytes to "${subject}"`);
    },
    sub: async (subject = "") => {
      const messages = nats.subscribe(subject);
      await flushed();
      say(`Subscribing on ${subject} `);
      let number = 0;
      for await (const message of messages) {
        const headers = message.headers?.keys().map((key) => `${key}: ${message.headers?.get(key)}\n`) ?? [];
        print(`[#${++number}] Received on "${message.subject}"\n${headers.join("")}\n${message.string()}\n`);
      }
    },
    "stream add": async (name = "") => {
      const manager = await jetstreamManager(nats);
      await manager.streams.add({ name, subjects: [values.subjects ?? ""] });
      print(`Stream ${name} was created\n`);
    },
    "consumer add": async (stream = "", name = "") => {
      const manager = await jetstreamManager(nats);
      const made = await manager.consumers.add(stream, { durable_name: name, ack_policy: AckPolicy.Explicit });
      print(`Information for Consumer ${stream} > ${name} created ${made.created}\n`);
    },
    "consumer next": async (stream = "", name = "") => {
      const consumer = await jetstream(nats).consumers.get(stream, name);
      const message = await consumer.next({ expires: 5_000 });
      if (message === null) return failed("no message received: nats: timeout");
      print(message.string());
      await message.ackAck();
    },
  };
}

async function flushed(): Promise<void> {
  await nextTurnAfter(connection.flush());
  const problem = await Promise.race([refused.promise, Promise.resolve("")]);
  if (problem !== "") failed(`permissions violation: ${problem}`);
}

/** What the server says before its PONG has been handled by then. */
async function nextTurnAfter(work: Promise<void>): Promise<void> {
  await work;
  await new Promise((resolve) => setImmediate(resolve));
}

function failed(why: string): never {
  process.stderr.write(`nats: error: nats: ${why}\n`);
  process.exit(1);
}
