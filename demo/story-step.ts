import type { CallResult, TokenAnswer } from "./job-client.ts";
import type { Step, Teller } from "./teller.ts";
import type { DemoWorld } from "./world.ts";

/** What a story is told with. */
export interface StoryOptions {
  readonly tell: Teller;
  readonly directory: string;
  /** Version of the real NGINX. */
  readonly nginx: string;
}

export interface Running {
  close(): Promise<void>;
}

/** A step that must go as told: any other status ends the demo with an error. */
export async function tellCall(
  { tell, world }: { readonly tell: Teller; readonly world: DemoWorld },
  call: {
    readonly method: string;
    readonly url: string;
    readonly token?: string;
    readonly who?: string;
    readonly expect: number;
  },
  note: (result: CallResult) => string,
): Promise<CallResult> {
  const result = await world.client.call(call.method, call.url, call.token);
  expectStatus(`${call.method} ${call.url}`, result.status, call.expect, result.body);
  const { hostname, pathname } = new URL(call.url);
  const step: Step = {
    who: call.who ?? "job",
    what: `${call.method.padEnd(4)} ${hostname}${pathname}`,
    status: result.status,
    note: note(result),
    // An allowed call's record is not the client's to see: the operator's socket has it.
    record: result.record ?? (await newestRecord(world, "kind=decision"))?.id,
  };
  tell.step(step);
  return result;
}

export function expectStatus(what: string, got: number, wanted: number, body: unknown): void {
  if (got === wanted) return;
  throw new Error(`the story went wrong: ${what} answered ${got} instead of ${wanted}: ${JSON.stringify(body)}`);
}

export function expectExchange(answer: TokenAnswer): { token: string; session: string; record: string } {
  expectStatus("the exchange", answer.status, 200, answer.body);
  const { access_token: token, session_id: session, record } = answer.body;
  return { token: String(token), session: String(session), record: String(record) };
}

/** The newest record of a kind, as the operator's socket shows it. */
export async function newestRecord(
  world: DemoWorld,
  query: string,
): Promise<{ id: string; data: Record<string, unknown> } | undefined> {
  const { request, Agent } = await import("undici");
  const agent = new Agent({ connect: { socketPath: world.broker.adminSocket } });
  try {
    const { body } = await request(`http://operator/v1/records?limit=1&${query}`, { dispatcher: agent });
    const { records } = (await body.json()) as { records: { id: string; data: Record<string, unknown> }[] };
    return records[0];
  } finally {
    await agent.close();
  }
}

export function ago(ms: number): string {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}
