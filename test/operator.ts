import { Agent, request } from "undici";

import type { AuditRecord } from "../src/core/record.ts";

/** Whatever has a broker with a socket for its operator. */
interface Operated {
  readonly broker: { readonly adminSocket: string };
}

/** One question to a broker's operator socket. */
export async function askOperator<T>(
  world: Operated,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<{ status: number; body: T }> {
  const agent = new Agent({ connect: { socketPath: world.broker.adminSocket } });
  try {
    const answer = await request(`http://operator${path}`, {
      method,
      dispatcher: agent,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    return { status: answer.statusCode, body: (await answer.body.json()) as T };
  } finally {
    await agent.close();
  }
}

/** Records, newest first. */
export async function operatorRecords(world: Operated, query: string): Promise<readonly AuditRecord[]> {
  const { body } = await askOperator<{ records: readonly AuditRecord[] }>(world, "GET", `/v1/records?${query}`);
  return body.records;
}
