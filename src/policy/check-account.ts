import type { Findings } from "./findings.ts";
import type { TargetModel } from "./model.ts";
import { isTemplate } from "./parse-template.ts";
import type { PolicyParts } from "./reading.ts";

/**
 * Records and deliveries are kept by account, so that two targets of one account that do not agree would each break the
 * other's promise. Accounts that jobs may fill to the same name are warned of.
 */
export function checkAccounts({ reading }: PolicyParts): void {
  const { findings } = reading;
  const accounts = new Map<string, TargetModel>();
  for (const { read } of reading.targets.values()) {
    const account = read?.settings.account;
    if (read === undefined || typeof account !== "string") continue;
    const earlier = accounts.get(account);
    if (earlier === undefined) {
      warnOverlap(read, account, accounts, findings);
      accounts.set(account, read);
      continue;
    }
    const differing = (["records", "deliveries"] as const).find((key) => read.settings[key] !== earlier.settings[key]);
    if (differing === undefined) continue;
    const { name, place, settings } = earlier;
    const message = `${read.name} and ${name} are one account and differ in ${differing}`;
    findings.error("account_differs", read.place, message, {
      help: `write ${differing}: ${String(settings[differing])}, or change both`,
      note: `${name} is at ${place.file}:${place.line}`,
    });
  }
}

function warnOverlap(
  target: TargetModel,
  account: string,
  earlier: ReadonlyMap<string, TargetModel>,
  findings: Findings,
): void {
  for (const [other, { name, place }] of earlier) {
    // A name that is written out is never filled to: `natsAccount` refuses it.
    if (!isTemplate(account) || !isTemplate(other) || !mayMeet(account, other)) continue;
    findings.warn("account_overlaps", target.place, `some jobs may fill ${account} and ${other} to one name`, {
      help: "begin each with words of its own: P_${job.project_id}",
      note: `${name} is at ${place.file}:${place.line}`,
    });
  }
}

/** By the text before the first hole and after the last one. */
function mayMeet(a: string, b: string): boolean {
  const head = (text: string) => text.slice(0, text.indexOf("${"));
  const tail = (text: string) => text.slice(text.lastIndexOf("}") + 1);
  const [startA, startB, endA, endB] = [head(a), head(b), tail(a), tail(b)];
  return (startA.startsWith(startB) || startB.startsWith(startA)) && (endA.endsWith(endB) || endB.endsWith(endA));
}
