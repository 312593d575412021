import { type TargetKind, targetKinds } from "../core/target.ts";
import { checkHost } from "./check-host.ts";
import { checkSettings } from "./check-settings.ts";
import type { Mode, RouteModel, TargetModel } from "./model.ts";
import { parseDuration } from "./parse-duration.ts";
import { overlaps, parseRoute } from "./parse-http-pattern.ts";
import { type Reading, take } from "./reading.ts";
import type { Target } from "./schema.ts";
import { type Path, placeOf, placeOfKey, placeWithin, type Source, sizeOf } from "./source.ts";

const maxKeepSeconds = 300;

/** The kind a target's map names, whether or not the rest of it can be read; undefined for none or several. */
export function kindOf(value: unknown): TargetKind | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const named = targetKinds.filter((kind) => Object.hasOwn(value, kind));
  return named.length === 1 ? named[0] : undefined;
}

/** A target, checked by itself; undefined with its mistakes reported. */
export function parseTarget(
  name: string,
  value: Target,
  source: Source,
  path: Path,
  fileMode: Mode,
  reading: Reading,
): TargetModel | undefined {
  const { findings } = reading;
  const before = findings.errors;
  const kind = kindOf(value);
  if (kind === undefined) {
    reportKinds(name, value, source, path, reading);
    return undefined;
  }
  refuseForKind(kind, value, source, path, reading);
  const hosts = (value.http?.hosts ?? []).map((host, index) => {
    const at = [...path, "http", "hosts", index];
    return take(checkHost(host, reading.variables), source, at, findings) ?? "";
  });
  const onOutage = readKeep(kind, value, source, path, reading);
  const routes = readRoutes(value, source, path, reading);
  const model: TargetModel = {
    name,
    kind,
    place: placeOfKey(source, path),
    mode: value.mode ?? fileMode,
    hosts,
    ...routes,
    assertion: value.assertion ?? "off",
    proof: value.proof ?? "off",
    encodedSlash: value.http?.encoded_slash ?? "refuse",
    onOutage,
    settings: checkSettings(kind, value, source, path, reading),
  };
  return findings.errors === before ? model : undefined;
}

function reportKinds(name: string, value: Target, source: Source, path: Path, reading: Reading): void {
  const named = targetKinds.filter((kind) => Object.hasOwn(value, kind));
  const [, second] = named;
  if (second === undefined) {
    const help = `add one of: ${targetKinds.join(", ")}`;
    reading.findings.error("target_kind_missing", placeOfKey(source, path), `target ${name} has no kind`, { help });
    return;
  }
  const message = `a target has one kind, and ${name} has ${named.join(" and ")}`;
  reading.findings.error("target_kind_twice", placeOfKey(source, [...path, second]), message, {
    help: "make it two targets",
  });
}

/** Settings that only requests with a path and headers can honour. */
function refuseForKind(kind: TargetKind, value: Target, source: Source, path: Path, reading: Reading): void {
  if (kind === "http" || kind === "mesh") return;
  for (const key of ["routes", "assertion", "proof"] as const) {
    if (value[key] === undefined || value[key] === "off") continue;
    const message = `${kind} targets have no ${key}`;
    reading.findings.error("setting_not_for_kind", placeOfKey(source, [...path, key]), message, {
      help: "leave it out",
    });
  }
}

/**
 * What a gateway may go on letting through while nobody answers. Only what one gateway can repeat by itself: nothing that
 * Wayleave must sign, hand out or record first.
 */
function readKeep(
  kind: TargetKind,
  value: Target,
  source: Source,
  path: Path,
  { findings }: Reading,
): TargetModel["onOutage"] {
  if (value.on_outage === undefined || value.on_outage === "deny") return { keepSeconds: 0 };
  const at = [...path, "on_outage", "keep"];
  const place = placeOfKey(source, at);
  const keep = parseDuration(value.on_outage.keep, 1, maxKeepSeconds);
  const keepSeconds = take(keep, source, at, findings) ?? 0;
  const fresh = keepObstacle(kind, value);
  if (fresh !== undefined) {
    findings.error("keep_impossible", place, `nothing can be kept during an outage here: ${fresh}`, {
      help: "leave on_outage out",
    });
  } else if (keepSeconds > 0) {
    const message = `while Wayleave does not answer, what it allowed stays allowed for ${keepSeconds} s`;
    const help = "a session that ends meanwhile goes on that long; it is listed in every status output";
    findings.warn("outage_keep", place, message, { help });
  }
  return { keepSeconds, place };
}

function keepObstacle(kind: TargetKind, { assertion, proof }: Target): string | undefined {
  if (kind === "nats") return "each message of nats is recorded before it goes on";
  if (kind !== "http" && kind !== "mesh") return `${kind} is handed out anew each time`;
  if (assertion === "required") return "assertion: required wants a signature for each request";
  return proof === "required" ? "proof: required wants each proof to be new, which only Wayleave can tell" : undefined;
}

type Routes = Pick<TargetModel, "unidentified" | "observe" | "enforce">;
type WrittenRoute = NonNullable<Target["routes"]>[number];

function readRoutes(value: Target, source: Source, path: Path, reading: Reading): Routes {
  const read: { route: WrittenRoute; model: RouteModel; path: Path }[] = [];
  const written = kindOf(value) === "http" || kindOf(value) === "mesh" ? (value.routes ?? []) : [];
  for (const [index, route] of written.entries()) {
    const at = [...path, "routes", index];
    const pattern = take(parseRoute(route.match), source, [...at, "match"], reading.findings);
    if (pattern) read.push({ route, model: { pattern, place: placeOf(source, [...at, "match"]) }, path: at });
    if (sizeOf(source, at) > 1) continue;
    const help = "add unidentified: pass or mode: observe";
    reading.findings.error("route_says_nothing", placeOf(source, [...at, "match"]), "this route changes nothing", {
      help,
    });
  }
  const passing = read.filter(({ route }) => route.unidentified === "pass");
  for (const { model, path: at } of passing) {
    const message = `requests without an identity reach ${model.pattern.source}`;
    const help = "keep such routes few and exact; they are listed in every status output";
    reading.findings.warn("unidentified_pass", placeOf(source, [...at, "unidentified"]), message, { help });
  }
  for (const { route, model, path: at } of read) {
    if (route.unidentified !== "deny") continue;
    const conflict = passing.find((other) => overlaps(other.model.pattern, model.pattern));
    if (!conflict) continue;
    const message = `"${conflict.model.pattern.source}" passes some of the same requests`;
    const help = "order never matters, so write the passing route narrower";
    reading.findings.error("route_conflict", placeWithin(source, [...at, "unidentified"], 0, 4), message, { help });
  }
  const modes = (mode: Mode) => read.filter(({ route }) => route.mode === mode).map(({ model }) => model);
  const enforce = modes("enforce");
  return {
    unidentified: passing.map(({ model }) => model),
    observe: modes("observe"),
    ...(enforce.length > 0 ? { enforce } : {}),
  };
}
