import type { JobIdentity } from "../core/identity.ts";
import type { CompiledRules } from "./compiled-rules.ts";
import { fillTemplate, splitTemplate } from "./fill-template.ts";
import { isTemplate } from "./parse-template.ts";

/** Longest name, characters. */
export const maxAccount = 64;

/** Accounts of the servers and of Wayleave itself, in any spelling. */
const reservedAccounts: ReadonlySet<string> = new Set(["SYS", "AUTH", "WAYLEAVE"]);

export const isReservedAccount = (name: string): boolean => reservedAccounts.has(name.toUpperCase());

/**
 * The account that is this job's at a target, or undefined: no NATS target, a template that the job cannot fill, or one that
 * it fills to an account of somebody else. An account that policy names outright is never reached by what a job is called.
 */
export function natsAccount(rules: CompiledRules, target: string, { variables }: JobIdentity): string | undefined {
  const account = rules.targets.get(target)?.model.settings.account;
  if (typeof account !== "string") return undefined;
  if (!isTemplate(account)) return account;
  const name = fillTemplate(splitTemplate(account), variables, "account");
  return name === undefined || isReservedAccount(name) || rules.accounts.has(name) ? undefined : name;
}
