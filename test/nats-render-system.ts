import { createSystemAccount, type SystemAccount } from "../src/gateway/nats/system-account.ts";
import type { RefusedClient, ServerClient } from "../src/gateway/nats/system-advisory.ts";
import type { Lab } from "./nats-render-lab.ts";

/** The broker's system account at a lab's server, and what it heard there. */
export interface LabSystem {
  readonly account: SystemAccount;
  /** The next so many clients that nobody announced. */
  strangers(count: number): Promise<readonly ServerClient[]>;
  /** The next so many that the server refused. */
  refusals(count: number): Promise<readonly RefusedClient[]>;
}

export async function systemOf(lab: Lab): Promise<LabSystem> {
  const strangers = queue<ServerClient>();
  const refusals = queue<RefusedClient>();
  const connection = await lab.system();
  const { system, auth } = lab.keys;
  const account = createSystemAccount({
    connection,
    now: () => performance.now(),
    ownAccounts: ["SYS", "AUTH", system.account.publicKey, auth.account.publicKey],
    onStranger: strangers.put,
    onRefused: refusals.put,
    onFault: (error) => {
      throw error;
    },
  });
  await connection.flush();
  return { account, strangers: strangers.take, refusals: refusals.take };
}

function queue<T>() {
  const items: T[] = [];
  let wanted: { readonly count: number; resolve(items: readonly T[]): void } | undefined;
  const look = () => {
    if (wanted === undefined || items.length < wanted.count) return;
    const { count, resolve } = wanted;
    wanted = undefined;
    resolve(items.splice(0, count));
  };
  return {
    put(item: T) {
      items.push(item);
      look();
    },
    take: (count: number) =>
      new Promise<readonly T[]>((resolve) => {
        wanted = { count, resolve };
        look();
      }),
  };
}
