import type { AskedClause } from "../../policy/native.ts";
import { at, type CheckedSettings, type FrontedTarget, isLoopback } from "./settings.ts";

/** What the reader must know and cannot see in the files. One sentence each. */
export function renderNotes(settings: CheckedSettings): readonly string[] {
  return [...gatewayNotes(settings), ...settings.targets.flatMap((target) => targetNotes(settings, target))];
}

function gatewayNotes(settings: CheckedSettings): string[] {
  const { broker, brokerUrl, grpc, fragments, native, inner, revocation, maxStreamSeconds } = settings;
  const open = "tokens and the gateway's secret can be read on the way";
  const remote = grpc !== undefined && !grpc.tls && !isLoopback(grpc.host);
  return [
    ...(broker.exposed ? [`${brokerUrl} is plain http over a network: ${open}. Use https or a socket.`] : []),
    ...(remote
      ? [`${grpc.host}:${grpc.port} is plain gRPC over a network: ${open}. Give the broker a certificate.`]
      : []),
    ...(fragments
      ? [
          `The surrounding configuration must say node.metadata.wayleave (gateway: ${settings.name}, policy: ${settings.policyVersion}), headers_with_underscores_action: REJECT_REQUEST, path_with_escaped_slashes_action: REJECT_REQUEST and forward_client_cert_details: SANITIZE, and have clusters ${settings.targets.map(({ name }) => `target_${name}`).join(", ")}.`,
        ]
      : []),
    ...(fragments && inner
      ? [
          `Its listener must require client certificates of ${settings.behind.toSorted().join(", ")} in trust domain ${settings.trustDomain}.`,
        ]
      : []),
    ...(native && revocation === "file"
      ? [`Until wayleave gateway follow writes its first file, and whenever it stops, every native route refuses.`]
      : []),
    ...(native && inner
      ? [
          "Envoy cannot hash: that an assertion was made for this very method and path is for the upstream to check, as with every assertion.",
        ]
      : []),
    `No request lasts longer than ${maxStreamSeconds} s, whatever becomes of its session meanwhile.`,
  ];
}

function targetNotes(settings: CheckedSettings, target: FrontedTarget): string[] {
  const { name, model, whole, native } = target;
  const label = `target ${name}`;
  const observed = model.mode === "observe" || model.observe.length > 0;
  return [
    ...(whole === undefined
      ? [...new Set(native.asked.map((clause) => askedNote(label, clause)))]
      : [`${label} (${at(model)}) is asked about, every request: ${whole}.`]),
    ...(target.domains.templated.length > 0
      ? [
          `${label} (${at(model)}) has hosts with templates, which only Wayleave can fill: requests to ${target.domains.templated[0]} are asked about.`,
        ]
      : []),
    ...(observed
      ? [
          `${label} is ${model.mode === "observe" ? "observed" : "observed in part"}: what policy denies there is logged and let through, and so is everything while Wayleave does not answer. Where Envoy decides by itself, ended sessions do not show in its log.`,
        ]
      : []),
    ...model.unidentified.map(
      (route) => `${label}: ${route.pattern.source} (${at(route)}) passes without an identity (unidentified: pass).`,
    ),
    ...(model.onOutage.keepSeconds > 0 && model.mode === "enforce"
      ? [`${label} says on_outage: keep. ${whatIsKept(settings)}`]
      : []),
  ];
}

function whatIsKept({ keepAtMostMs, revocationTtlMs }: CheckedSettings): string {
  return keepAtMostMs === 0
    ? "This gateway says on_outage: deny, so a question that nobody answers is refused."
    : `Envoy goes on for revocation_ttl, ${revocationTtlMs / 1000} s, with tokens that still live.`;
}

function askedNote(label: string, { pattern, because, place }: AskedClause): string {
  const what = pattern === undefined ? "every request" : pattern.source;
  return `${label}: ${what} is asked about, because ${because} (${place.file}:${place.line}).`;
}
