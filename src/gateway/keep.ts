import { WayleaveError } from "../core/errors.ts";
import type { TargetModel } from "../policy/model.ts";

/** What `on_outage: keep` comes to at one gateway, in seconds: what the target asks for, within what the gateway may. */
export function keepSecondsAt(onOutage: TargetModel["onOutage"], atMostMs: number | undefined): number {
  return Math.min(onOutage.keepSeconds, atMostMs === undefined ? onOutage.keepSeconds : Math.floor(atMostMs / 1000));
}

/** What the gateway keeps of its targets, as status outputs show it. Linkerd, NATS and Istio keep nothing, whatever policy says. */
export function keptAt(
  gateway: {
    readonly kind: string;
    readonly targets: readonly string[];
    readonly keepAtMostMs?: number;
    readonly njs?: boolean;
  },
  targets: ReadonlyMap<string, Pick<TargetModel, "mode" | "onOutage">>,
): readonly { readonly target: string; readonly seconds: number }[] {
  if (gateway.kind !== "envoy" && gateway.njs !== true) return [];
  return gateway.targets.flatMap((target) => {
    const model = targets.get(target);
    const seconds = model?.mode === "enforce" ? keepSecondsAt(model.onOutage, gateway.keepAtMostMs) : 0;
    return seconds > 0 ? [{ target, seconds }] : [];
  });
}

/** One answer that a gateway may have to repeat by itself. */
export interface KeepQuestion {
  /** What the gateway may keep of this target; 0: nothing. */
  readonly keepMs: number;
  /** Policy let the request through, and not only because it is observed or shared. */
  readonly allowed: boolean;
  /** A limit counts it: repeats that nobody counts would go past it. */
  readonly limited: boolean;
  /** An open stream cannot be asked about again. */
  readonly stream: boolean;
  /** The gateway in front keeps, or refuses. */
  readonly behind: boolean;
  /** ms since the epoch: the end of the credential, and the hard end of its session. */
  readonly expiresAt: number;
  readonly hardEndAt: number;
  readonly now: number;
}

/**
 * Until when an enforcement point may repeat an answer while nobody answers, ms since the epoch; 0: not at all, and what it
 * kept of the same request before is void. Undefined where the target keeps nothing. Each answer begins anew, so that no
 * request goes on for longer than `keep` after Wayleave last allowed that very one; nor past the end of token or session.
 */
export function keepUntil(question: KeepQuestion): number | undefined {
  const { keepMs, allowed, limited, stream, behind, expiresAt, hardEndAt, now } = question;
  if (keepMs <= 0) return undefined;
  if (!allowed || limited || stream || behind) return 0;
  return Math.min(now + keepMs, expiresAt, hardEndAt);
}

/** As `refuseKeep`, for gateways that can keep nothing at all, wherever a target they enforce says keep. */
export function refuseAnyKeep(
  gateway: { readonly name: string; readonly keepAtMostMs?: number },
  target: Pick<TargetModel, "name" | "mode" | "onOutage">,
  why: string,
): void {
  if (target.mode === "observe" || keepSecondsAt(target.onOutage, gateway.keepAtMostMs) === 0) return;
  refuseKeep(gateway.name, target, why);
}

/** Refuses to render a keep that the gateway could not hold to. Throws `keep_unsupported` with the line that asks for it. */
export function refuseKeep(gateway: string, target: Pick<TargetModel, "name" | "onOutage">, why: string): never {
  const { keepSeconds, place } = target.onOutage;
  const where = place === undefined ? "" : ` (${place.file}:${place.line})`;
  throw new WayleaveError(
    "keep_unsupported",
    `Gateway ${gateway}: target ${target.name} says on_outage: keep ${keepSeconds}s${where}, and ${why}. Say on_outage: deny of this gateway, and an outage denies here; or of the target.`,
  );
}
