import type { KeySummary } from "../api/contract.ts";
import type { BreakglassInForce } from "../core/breakglass-record.ts";
import { type Check, type DoctorFacts, type Finding, fail, note, warn } from "./doctor-facts.ts";

const seconds = (ms: number): string => `${Math.abs(Math.round(ms / 1000))} s`;

/** Tokens are taken with this much leeway (RFC 7519 §4.1.4), ms. */
const leewayMs = 60_000;

/** Checks of what runs: clocks, keys, what gateways report and send. */
export const runningChecks: readonly Check[] = [
  {
    name: "clock_issuer",
    looks: "the CI's clock against this machine's, by the Date of its answer",
    needs: "the CI can be reached from here",
    run: ({ issuers }) => issuers?.flatMap(issuerClock),
  },
  {
    name: "clock_gateway",
    looks: "the times in each gateway's log against the broker's clock",
    needs: "a running broker",
    run: ({ lines }) => lines?.flatMap(gatewayClock),
  },
  {
    name: "jwks_reachable",
    looks: "the broker's key set at each gateway's broker_url",
    needs: "gateways in the configuration",
    run: ({ keySets }) => keySets?.flatMap(keySet),
  },
  {
    name: "keys_overlap",
    looks: "that every signing key was known before it signed, and is kept until its last token has expired",
    needs: "a running broker",
    run: ({ keys, now }) => (keys === undefined ? undefined : keyClasses(keys.keys, now)),
  },
  {
    name: "refusals_fresh",
    looks: "how old the ended sessions are that each native gateway last took",
    needs: "a running broker",
    run: ({ inventory, gateways }) =>
      inventory === undefined || gateways === undefined ? undefined : refusalAges(inventory, gateways),
  },
  {
    name: "policy_current",
    looks: "the policy version that each gateway reports against the one in force",
    needs: "a running broker",
    run: ({ inventory }) => (inventory === undefined ? undefined : policyVersions(inventory)),
  },
  {
    name: "breakglass",
    looks: "break-glass that was used and is not over",
    needs: "a running broker",
    run: ({ inventory }) => inventory && (inventory.breakglass ?? []).map(inForce),
  },
  {
    name: "outage_keep",
    looks: "what goes on at each gateway while the broker is away",
    needs: "a running broker",
    run: ({ inventory }) => inventory?.gateways.flatMap(keptTargets),
  },
  {
    name: "log_arrives",
    looks: "that a gateway for which decisions are made also sends its own log",
    needs: "a running broker",
    run: ({ lines, gateways, now }) =>
      lines === undefined || gateways === undefined ? undefined : silentLogs(lines, gateways, now),
  },
];

function issuerClock({ name, aheadMs, problem }: NonNullable<DoctorFacts["issuers"]>[number]): readonly Finding[] {
  if (aheadMs === undefined) {
    return [
      warn(`${name} could not be asked: ${problem ?? "no Date in its answer"}`, "reach it from here, or ignore this"),
    ];
  }
  const says = `${name}'s clock is ${seconds(aheadMs)} ${aheadMs > 0 ? "ahead of" : "behind"} this machine's`;
  const fix = "run NTP on both; tokens outside 60 s of leeway are refused";
  if (Math.abs(aheadMs) > leewayMs) return [fail(says, fix)];
  return Math.abs(aheadMs) > leewayMs / 6 ? [warn(says, fix)] : [];
}

/** A line takes its time to arrive: only one that is ahead, or none that is nearly on time, says something of a clock. */
function gatewayClock({ gateway, aheadMs }: NonNullable<DoctorFacts["lines"]>[number]): readonly Finding[] {
  if (aheadMs.length === 0) return [];
  const ahead = Math.max(...aheadMs);
  const fix = `run NTP on the machine of ${gateway}`;
  if (ahead > 30_000) return [fail(`${gateway}'s clock is ${seconds(ahead)} ahead of the broker's`, fix)];
  if (ahead > 2_500) return [warn(`${gateway}'s clock is ${seconds(ahead)} ahead of the broker's`, fix)];
  if (ahead < -leewayMs) {
    return [
      warn(
        `${gateway}'s newest lines were ${seconds(ahead)} old when they came`,
        `${fix}, or look why its log is late`,
      ),
    ];
  }
  return [];
}

function keySet({ gateway, url, keys, cacheControl, problem }: NonNullable<DoctorFacts["keySets"]>[number]) {
  if (problem !== undefined || keys === undefined) {
    return [
      fail(`${gateway}: ${url} ${problem ?? "is no key set"}`, `correct broker_url of ${gateway}, or the network`),
    ];
  }
  if (keys === 0) return [fail(`${gateway}: ${url} has no key`, "look at wayleave key list")];
  if (/no-cache|no-store/.test(cacheControl ?? "")) {
    return [fail(`${gateway}: ${url} may not be kept (${cacheControl})`, "let no proxy in front change Cache-Control")];
  }
  return [];
}

function keyClasses(keys: readonly KeySummary[], now: number): readonly Finding[] {
  const classes = [...new Set(keys.map((key) => key.class))];
  if (classes.length === 0) return [fail("the broker has no signing key", "run wayleave key prepare, then activate")];
  return classes.flatMap((name) => {
    const all = keys.filter((key) => key.class === name);
    const active = all.filter(({ state }) => state === "active");
    if (active.length !== 1) {
      return [fail(`class ${name} has ${active.length} active keys`, `run wayleave key activate ${name}`)];
    }
    return all.flatMap((key) => keyWindow(key, now));
  });
}

function keyWindow(key: KeySummary, now: number): readonly Finding[] {
  const { kid, state, usable_at, signs_since, last_token_expires_at } = key;
  const name = `${key.class} key ${kid.slice(0, 8)}…`;
  const early = usable_at !== undefined && signs_since !== undefined && Date.parse(signs_since) < Date.parse(usable_at);
  if (state === "active" && early && Date.parse(usable_at) > now) {
    return [
      fail(
        `${name} signs, and gateways may not know it until ${usable_at}`,
        "wait until then; next time prepare it earlier",
      ),
    ];
  }
  if (state === "retired" && last_token_expires_at !== undefined && Date.parse(last_token_expires_at) > now) {
    return [
      fail(
        `${name} is retired, and tokens it signed live until ${last_token_expires_at}`,
        "retire a key after that time",
      ),
    ];
  }
  return [];
}

function inForce({ id, approvers, targets, reason, ends_at, uses }: BreakglassInForce): Finding {
  return warn(
    `${id}, signed by ${approvers.join(" and ")}, opens ${targets.join(", ")} until ${ends_at} whenever the broker is away (${uses} used): ${reason}`,
    "stop wayleave breakglass serve beside the gateway, if that is too long; see wayleave audit list --kind breakglass.used",
  );
}

function keptTargets({ name, kept = [] }: NonNullable<DoctorFacts["inventory"]>["gateways"][number]) {
  return kept.map(({ target, seconds: keep }) =>
    note(
      `${name} lets go on for ${keep} s what it allowed on ${target} while the broker is away; a session's end is not seen meanwhile`,
      "say on_outage: deny of the target or of the gateway where that is too long",
    ),
  );
}

function refusalAges(
  { gateways }: NonNullable<DoctorFacts["inventory"]>,
  configured: NonNullable<DoctorFacts["gateways"]>,
): readonly Finding[] {
  return gateways.flatMap(({ name, acknowledged_seconds, nodes }) => {
    const ttlMs = configured.find((gateway) => gateway.name === name)?.refusalsTtlMs;
    if (ttlMs === undefined) return [];
    const refused = nodes.find((node) => node.refused !== undefined);
    if (refused !== undefined) {
      return [
        fail(`${name}: ${refused.id} refused what it was sent: ${refused.refused}`, "render its configuration again"),
      ];
    }
    const reach = `let ${name} reach the broker: see its revocation in the configuration`;
    if (acknowledged_seconds === undefined)
      return [fail(`${name} has not taken the ended sessions since the broker started`, reach)];
    const age = acknowledged_seconds * 1000;
    if (age > ttlMs)
      return [fail(`${name} took them ${seconds(age)} ago, and refuses everything after ${seconds(ttlMs)}`, reach)];
    return age > ttlMs * 0.8
      ? [warn(`${name} took them ${seconds(age)} ago; its limit is ${seconds(ttlMs)}`, reach)]
      : [];
  });
}

function policyVersions({ policy, gateways }: NonNullable<DoctorFacts["inventory"]>): readonly Finding[] {
  return gateways.flatMap((gateway) => {
    const fix = `run wayleave render ${gateway.kind} --gateway ${gateway.name}, and load it there`;
    if (gateway.policy === "older") return [fail(`${gateway.name} goes by an older policy than ${policy}`, fix)];
    const blind = gateway.policy === "unknown" && gateway.mode === "native";
    return blind ? [warn(`${gateway.name} has not said which policy it goes by`, fix)] : [];
  });
}

/** Agents look several times a second; a log that is later than this does not come. */
const lateMs = 60_000;

function silentLogs(
  lines: NonNullable<DoctorFacts["lines"]>,
  gateways: NonNullable<DoctorFacts["gateways"]>,
  now: number,
): readonly Finding[] {
  return lines.flatMap(({ gateway, lastAt, decidedAt }) => {
    const { ships = false, kind } = gateways.find(({ name }) => name === gateway) ?? {};
    if (!ships || decidedAt === undefined || now - decidedAt < lateMs || (lastAt ?? 0) >= decidedAt - lateMs) return [];
    const since =
      lastAt === undefined ? "no line of it ever came" : `its last line came ${seconds(decidedAt - lastAt)} before`;
    const fix =
      kind === "nginx"
        ? `run wayleave gateway follow --gateway ${gateway} beside it`
        : `let ${gateway} reach the broker's gRPC listener, or run wayleave gateway follow beside it`;
    return [fail(`decisions are made for ${gateway}, and ${since}`, fix)];
  });
}
