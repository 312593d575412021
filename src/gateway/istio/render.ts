import { WayleaveError } from "../../core/errors.ts";
import type { PolicyModel } from "../../policy/model.ts";
import { ownerLabel, printResources, type Resource } from "../resources.ts";
import { allowPolicy, customPolicy, denyPolicy, named, type RuleContext, serviceAccount } from "./authorization.ts";
import { renderEndedSessions, workloadName } from "./ended-sessions.ts";
import { guard } from "./guard.ts";
import { inlineJwks } from "./jwks.ts";
import { logProvider } from "./mesh-config.ts";
import { at, planTargets, type TargetPlan } from "./plan.ts";
import {
  type Broker,
  type CheckedSettings,
  checkSettings,
  type FrontedTarget,
  type IstioGatewaySettings,
  type IstioWorkload,
} from "./settings.ts";

export interface RenderedFile {
  /** Relative to the gateway's folder. */
  readonly path: string;
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
}

export interface RenderedIstio {
  readonly files: readonly RenderedFile[];
  /** What the reader must know and cannot see in the files. One sentence each. */
  readonly notes: readonly string[];
}

export interface IstioInput {
  readonly gateway: IstioGatewaySettings;
  readonly model: PolicyModel;
  /** `iss` of access tokens. */
  readonly issuer: string;
  /** The broker's live access-token keys, as its `jwks_uri` serves them. */
  readonly jwks: unknown;
}

/**
 * The resources that make an Istio enforce policy for the gateway's targets: by the claims of access tokens where they say
 * exactly the same as the decision, by asking Wayleave elsewhere. Pure: the same input, in any order, gives the same bytes,
 * and no secret is in them (`renderMeshConfig` has it). Not checked: what else the mesh holds (`lintIstio`). Throws
 * `render_refused` naming what Istio cannot express, with file and line.
 */
export function renderIstio(input: IstioInput): RenderedIstio {
  const { settings, plans, resources, notes } = istioResources(input);
  const { gateway, model, issuer } = input;
  const head = `Wayleave for gateway ${settings.name}, policy ${model.version}. Rendered; do not edit.`;
  const asks = plans.some(({ whole, asked }) => whole !== undefined || asked.length > 0);
  const none = { sessions: [], tokens: [] };
  return {
    files: [
      {
        path: "wayleave-istio.yaml",
        mode: 0o644,
        text: printResources(head, settings.name, [...(asks ? reach(settings) : []), ...resources]),
      },
      {
        path: "wayleave-ended.yaml",
        mode: 0o644,
        text: renderEndedSessions({ gateway, model, issuer, ended: none }),
      },
    ],
    notes,
  };
}

/** The same before it is printed, without the way to the broker. */
export function istioResources({ gateway, model, issuer, jwks }: IstioInput) {
  const settings = checkSettings(gateway, model);
  checkPlain(settings, issuer);
  const context: RuleContext = { settings, issuer, policyVersion: model.version };
  const plans = planTargets(model, settings.mode === "call_out");
  const planned = settings.targets.flatMap((fronted) => {
    refuseStreams(settings, fronted, model);
    const plan = plans.get(fronted.model.name);
    return plan === undefined ? [] : [{ fronted, plan }];
  });
  const keys = planned.some(({ plan }) => plan.whole === undefined) ? inlineJwks(jwks) : "";
  const resources = planned.flatMap(({ fronted, plan }) =>
    fronted.workloads.flatMap((workload, index) => {
      const name = workloadName(settings.name, fronted.model.name, index);
      return forWorkload({ context, name, fronted, plan, workload, keys });
    }),
  );
  const planList = planned.map(({ plan }) => plan);
  const notes = [
    ...gatewayNotes(settings, planList),
    ...planned.flatMap(({ fronted, plan }) => targetNotes(settings, fronted, plan)),
  ];
  return { settings, plans: planList, resources, notes };
}

/** Istio reads a star in a value as a pattern. */
function checkPlain(settings: CheckedSettings, issuer: string): void {
  if (!issuer.includes("*") && /^https?:\/\/\S+[^/\s]$/.test(issuer)) return;
  throw new WayleaveError(
    "render_refused",
    `Gateway ${settings.name}: the issuer is no plain URL; correct issuer in the configuration.`,
  );
}

/** A sidecar neither ends a stream with its session nor bounds it. */
function refuseStreams(settings: CheckedSettings, { model: target }: FrontedTarget, model: PolicyModel): void {
  for (const role of model.roles) {
    const operations = Object.hasOwn(role.allow, target.name) ? (role.allow[target.name] ?? []) : [];
    const stream = operations.flatMap((one) => (one.kind === "http" && one.pattern.stream ? [one] : []))[0];
    if (stream === undefined) continue;
    throw new WayleaveError(
      "render_refused",
      `Gateway ${settings.name}: ${stream.pattern.source} of role ${role.name} (${at(stream.place)}) says stream: true, and Istio cannot end an open stream; front it by Envoy or the Wayleave proxy.`,
    );
  }
}

interface Part {
  readonly context: RuleContext;
  readonly name: string;
  readonly fronted: FrontedTarget;
  readonly plan: TargetPlan;
  readonly workload: IstioWorkload;
  readonly keys: string;
}

/** Everything for one workload, what refuses before what lets through. */
function forWorkload({ context, name, fronted, plan, workload, keys }: Part): Resource[] {
  const { settings, issuer } = context;
  const { namespace } = settings;
  const observed = fronted.model.mode === "observe";
  const native = plan.whole === undefined;
  return [
    guard(name, namespace, workload, native),
    peerAuthentication(name, namespace, workload),
    ...(native
      ? [
          requestAuthentication(name, namespace, fronted, workload, issuer, keys),
          ...denyPolicy(context, name, plan, workload),
        ]
      : []),
    ...customPolicy(context, name, fronted, plan, workload),
    // What is only observed is never stopped.
    ...(observed ? [] : allowPolicy(context, name, fronted, plan, workload)),
    telemetry(name, namespace, fronted, workload),
  ];
}

function peerAuthentication(name: string, namespace: string, { labels }: IstioWorkload): Resource {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: { name, namespace },
    spec: { selector: { matchLabels: labels }, mtls: { mode: "STRICT" } },
  };
}

function requestAuthentication(
  name: string,
  namespace: string,
  fronted: FrontedTarget,
  { labels }: IstioWorkload,
  issuer: string,
  jwks: string,
): Resource {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "RequestAuthentication",
    metadata: { name, namespace },
    spec: {
      selector: { matchLabels: labels },
      jwtRules: [
        {
          issuer,
          audiences: [fronted.model.name],
          jwks,
          // Without it a token in the query would be taken too.
          fromHeaders: [{ name: "Authorization", prefix: "Bearer " }],
          forwardOriginalToken: false,
          outputClaimToHeaders: [
            { header: "x-wayleave-subject", claim: "sub" },
            { header: "x-wayleave-session", claim: "sid" },
            { header: "x-wayleave-job", claim: "job.job_id" },
          ],
        },
      ],
    },
  };
}

function telemetry(name: string, namespace: string, fronted: FrontedTarget, { labels }: IstioWorkload): Resource {
  return {
    apiVersion: "telemetry.istio.io/v1",
    kind: "Telemetry",
    metadata: { name, namespace },
    spec: { selector: { matchLabels: labels }, accessLogging: [{ providers: [{ name: logProvider(fronted) }] }] },
  };
}

/** How the mesh reaches the broker: a service it knows already needs no entry, and TLS needs a rule wherever it is. */
function reach({ name, namespace, broker }: CheckedSettings): Resource[] {
  const metadata = { name: `wayleave-${name}-broker`, namespace };
  const entry: Resource = {
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata,
    spec: {
      hosts: [broker.host],
      location: "MESH_EXTERNAL",
      resolution: "DNS",
      // Plain HTTP to Envoy: the rule below adds TLS, so that the question can be asked at all.
      ports: [{ number: broker.port, name: "http", protocol: "HTTP" }],
    },
  };
  return [...(broker.inside ? [] : [entry]), ...(broker.tls ? [brokerTls(metadata, broker)] : [])];
}

function brokerTls(metadata: Resource["metadata"], { host }: Broker): Resource {
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "DestinationRule",
    metadata,
    spec: {
      host,
      trafficPolicy: { tls: { mode: "SIMPLE", sni: host, subjectAltNames: [host], caCertificates: "system" } },
    },
  };
}

function gatewayNotes(settings: CheckedSettings, plans: readonly TargetPlan[]): string[] {
  const native = plans.some(({ whole }) => whole === undefined);
  return [
    ...(native
      ? [
          "Istio learns of a session's end only by configuration: apply wayleave-ended.yaml as it changes, and until then a token lives on, for 2 min at most.",
          "Native rules know one policy version: apply a new rendering with a new policy, since tokens of any other version are refused until then.",
          "Each change of these resources, a key of Wayleave's among them, updates the sidecars' listeners, which drains open connections.",
        ]
      : []),
    `Rules of an earlier rendering stay until they are deleted: apply with kubectl apply --prune -l ${ownerLabel}=${settings.name} -f wayleave-istio.yaml -f wayleave-ended.yaml.`,
    "The sidecars must be version 1.24 or newer; ambient mode has no EnvoyFilter and is refused by what these rules ask for.",
    ...(settings.broker.tls
      ? [
          `Sidecars believe the certificate of ${settings.broker.host} by the authorities of their own image; with another, set caCertificates in the DestinationRule.`,
        ]
      : []),
    ...(settings.broker.tls || settings.broker.inside
      ? []
      : [
          `${settings.broker.host} is plain http outside the mesh: tokens and the gateway's secret can be read on the way. Use https.`,
        ]),
  ];
}

function targetNotes(settings: CheckedSettings, fronted: FrontedTarget, plan: TargetPlan): string[] {
  const { name, mode } = fronted.model;
  return [
    ...(plan.whole === undefined ? [] : [`target ${name} is asked about for every request: ${plan.whole}.`]),
    ...plan.asked.map((route) => `target ${name}: ${named(route)} is asked about: ${route.because}.`),
    ...(mode === "observe"
      ? [`target ${name} is observed: its requests pass also while Wayleave does not answer.`]
      : []),
    ...(mode === "observe"
      ? []
      : [
          `target ${name}: every other port of its pods is closed by the ALLOW policy; open what probes and metrics need with one of your own.`,
        ]),
    ...accountNotes(settings, name, plan),
  ];
}

function accountNotes(settings: CheckedSettings, target: string, plan: TargetPlan): string[] {
  const roles = new Map(
    [...plan.native].flatMap((route) => (route.role.spiffeId === undefined ? [] : [[route.role.id, route] as const])),
  );
  return [...roles.values()].flatMap(({ role }) => {
    if (serviceAccount(role.spiffeId, settings.meshTrustDomain) === undefined) {
      return [
        `target ${target}: role ${role.id} names ${role.spiffeId}, which is no service account of ${settings.meshTrustDomain}; only its tokens count here.`,
      ];
    }
    const denied =
      plan.closedTo.length > 0 || plan.native.some((route) => route.role.id === role.id && route.denies.length > 0);
    return denied
      ? [
          `target ${target}: ${role.spiffeId} says nothing of denies, so where one bears on role ${role.id} only its tokens count.`,
        ]
      : [];
  });
}
