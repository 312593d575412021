import type { ListedTarget } from "../../api/contract.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { Broker, Caller, NatsAnswer } from "./broker.ts";

/** What NATS clients and the `nats` command look for, by the names they know. */
export function natsVariables({ url, user, password }: NatsAnswer): Readonly<Record<string, string>> {
  return { NATS_URL: url, NATS_USER: user, ...(password === undefined ? {} : { NATS_PASSWORD: password }) };
}

/** `nats://user:password@host:port`, for clients that take nothing else. A password of ours needs no escapes in it. */
export function natsUrl({ url, user, password = "" }: NatsAnswer): string {
  return url.replace("://", `://${encodeURIComponent(user)}:${password}@`);
}

/** The variables of the NATS target among those a command asked for; none where there is none. Throws `invalid_request` for several. */
export async function askedNatsVariables(
  broker: Pick<Broker, "nats">,
  caller: Caller,
  listed: readonly ListedTarget[],
  asked: readonly { readonly name: string }[],
): Promise<Readonly<Record<string, string>>> {
  const names = asked.map(({ name }) => name).filter((name) => isNats(listed, name));
  const [target, ...more] = new Set(names);
  if (target === undefined) return {};
  if (more.length > 0) {
    throw new WayleaveError(
      "invalid_request",
      `The variables NATS_… can name one target, and --target names ${names.join(" and ")}; use \`wayleave nats env\` for the others.`,
    );
  }
  return natsVariables(await broker.nats(caller, { form: "password", target }));
}

function isNats(listed: readonly ListedTarget[], name: string): boolean {
  return listed.some((target) => target.name === name && target.kind === "nats");
}
