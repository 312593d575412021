import { Agent, request } from "undici";
import type { BreakglassSpool } from "./breakglass-spool.ts";
import type { CommandIo } from "./command-io.ts";
import type { GatewayCredential } from "./gateway-agent.ts";

const lookMs = 500;
const awayMs = 2_000;
const atATime = 200;

/** Sends what was written down, until the signal aborts; a broker that is away is asked again. Resolves then. */
export async function sendSpool(
  io: Pick<CommandIo, "stderr" | "pause">,
  spool: Pick<BreakglassSpool, "waiting" | "sent">,
  credential: GatewayCredential,
  signal: AbortSignal,
): Promise<void> {
  const agent = new Agent({
    allowH2: false,
    connect: { timeout: 5_000, ...(credential.ca === undefined ? {} : { ca: [...credential.ca] }) },
  });
  let said = 0;
  try {
    while (!signal.aborted) {
      const waiting = await spool.waiting(atATime);
      const uses = waiting.filter((use) => !("damaged" in use));
      const status = uses.length === 0 ? 200 : await send(agent, credential, uses);
      if (status === 200 && waiting.length > 0) {
        await spool.sent(waiting.length);
        io.stderr.write(`wayleave: the broker has ${uses.length} more uses of break-glass\n`);
        continue;
      }
      if (status >= 400 && status < 500 && status !== said) {
        io.stderr.write(`wayleave: the broker refuses the uses of break-glass (${status}); see its log\n`);
        said = status;
      }
      await io.pause(status === 200 ? lookMs : awayMs, signal);
    }
  } finally {
    await agent.close();
  }
}

/** The status, 0 without an answer. */
async function send(dispatcher: Agent, { brokerUrl, name, secret }: GatewayCredential, uses: readonly object[]) {
  try {
    const { statusCode, body } = await request(`${brokerUrl.replace(/\/+$/, "")}/v1/gateway/breakglass`, {
      dispatcher,
      method: "POST",
      headers: { "content-type": "application/json", "x-wayleave-gateway": name, "x-wayleave-gateway-secret": secret },
      body: JSON.stringify({ uses }),
      signal: AbortSignal.timeout(10_000),
    });
    await body.dump();
    return statusCode;
  } catch {
    return 0; // away: an error about a header could quote the header, so it is not printed
  }
}
