import type { CompiledTarget } from "../../policy/policy.ts";
import { keepSecondsAt, refuseKeep } from "../keep.ts";

/** Of a gateway, what bears on what it may keep. */
interface KeepSettings {
  readonly name: string;
  readonly njs?: boolean;
  readonly keepAtMostMs?: number;
  readonly behind?: Readonly<Record<string, string>>;
}

/** Seconds that this NGINX keeps of the target; 0 too where it is observed, since nothing stops there anyway. */
export function keptSeconds(settings: Pick<KeepSettings, "keepAtMostMs">, target: CompiledTarget): number {
  return target.mode === "observe" ? 0 : keepSecondsAt(target.onOutage, settings.keepAtMostMs);
}

/** Refuses what this NGINX could not keep exactly. Throws `keep_unsupported`. */
export function checkKeep(gateway: KeepSettings, target: CompiledTarget): void {
  if (keptSeconds(gateway, target) === 0) return;
  const behind = gateway.behind?.[target.name];
  if (gateway.njs !== true) {
    refuseKeep(gateway.name, target, "NGINX keeps answers under a hash of the token, which needs njs 0.8 (njs: true)");
  }
  if (behind !== undefined || target.assertion === "required") {
    refuseKeep(gateway.name, target, "what is behind it wants an assertion, which is for one request");
  }
  if (target.proof === "required")
    refuseKeep(gateway.name, target, "only Wayleave can tell a used proof from a new one");
}
