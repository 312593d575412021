import type { Diagnostic } from "../policy/model.ts";
import { failsOpen, shadowedRoutes } from "./doctor-envoy.ts";
import { type CertificateFile, type Check, type DoctorFacts, type Finding, fail, warn } from "./doctor-facts.ts";

/** Findings of the NGINX lint that are about where requests go, not about what a location says. */
const routeCodes: ReadonlySet<string> = new Set([
  "missing_include",
  "missing_server_include",
  "auth_request_off",
  "internal_redirect",
]);
const permissiveCodes: ReadonlySet<string> = new Set([
  "mtls_permissive",
  "mtls_missing",
  "server_open",
  "server_audits",
  "no_authentication_required",
]);

/** Checks of files the operator names, and of gateways that answer. */
export const fileChecks: readonly Check[] = [
  {
    name: "fails_closed_envoy",
    looks: "settings by which an Envoy lets requests through when it cannot ask, verify or hear",
    needs: "--envoy-config <file>",
    run: ({ envoy }) => envoy?.flatMap(failsOpen),
  },
  {
    name: "fails_closed_nginx",
    looks: "what in an nginx.conf takes the effect of the rendered includes away (`render nginx --lint`)",
    needs: "--nginx-conf <file>",
    run: ({ nginx }) => nginx?.filter(({ code }) => !routeCodes.has(code)).map(fromDiagnostic),
  },
  {
    name: "route_priority",
    looks: "a route or location that takes requests before a protected one",
    needs: "--envoy-config <file> or --nginx-conf <file>",
    run: ({ envoy, nginx }) =>
      envoy === undefined && nginx === undefined
        ? undefined
        : [
            ...(envoy ?? []).flatMap(shadowedRoutes),
            ...(nginx ?? []).filter(({ code }) => routeCodes.has(code)).map(fromDiagnostic),
          ],
  },
  {
    name: "certificate_order",
    looks: "that each certificate chain begins with its leaf and each is signed by the next",
    needs: "TLS in the configuration, or --certificate <file>",
    run: ({ certificates }) => certificates?.flatMap(chainOrder),
  },
  {
    name: "certificate_validity",
    looks: "that every certificate is valid now and for some days",
    needs: "TLS in the configuration, or --certificate <file>",
    run: ({ certificates, now }) => certificates?.flatMap((file) => validity(file, now)),
  },
  {
    name: "answers_without_asking",
    looks: "requests that must be refused, sent to a running gateway",
    needs: "--probe <url>",
    run: ({ probes }) => probes?.flatMap(probed),
  },
  {
    name: "mesh_permissive",
    looks: "workloads of the mesh that take callers without mutual TLS",
    needs: "--resources <file>",
    run: ({ resources }) => resources?.filter(({ code }) => permissiveCodes.has(code)).map(fromDiagnostic),
  },
  {
    name: "mesh_resources",
    looks: "everything else in mesh resources that lets requests past the rendered ones",
    needs: "--resources <file>",
    run: ({ resources }) => resources?.filter(({ code }) => !permissiveCodes.has(code)).map(fromDiagnostic),
  },
];

function fromDiagnostic({ severity, code, message, place, help }: Diagnostic): Finding {
  const says = `${place.file}:${place.line}: ${message} (${code})`;
  return { level: severity === "error" ? "fail" : "warn", says, fix: help ?? "see the line" };
}

function chainOrder({ file, chain, problem }: CertificateFile): readonly Finding[] {
  if (problem !== undefined) return [fail(`${file}: ${problem}`, "give a PEM file with the whole chain")];
  const [leaf] = chain;
  const order = "put the leaf first, then what signed it, up to the root";
  if (leaf?.authority === true && chain.some(({ authority }) => !authority)) {
    return [fail(`${file} begins with an authority (${leaf.subject})`, order)];
  }
  const broken = chain.find(({ signedByNext }) => !signedByNext);
  return broken === undefined
    ? []
    : [fail(`${file}: ${broken.subject} is not signed by the certificate after it`, order)];
}

const dayMs = 86_400_000;

function validity({ file, chain }: CertificateFile, now: number): readonly Finding[] {
  return chain.flatMap(({ subject, notBefore, notAfter }) => {
    const name = `${file}: ${subject}`;
    if (now < notBefore)
      return [fail(`${name} is not valid before ${day(notBefore)}`, "check the clock, or issue it again")];
    if (now >= notAfter) return [fail(`${name} has expired on ${day(notAfter)}`, "renew it")];
    // Short-lived certificates renew themselves: they are judged by their own life.
    const soon = Math.min(7 * dayMs, (notAfter - notBefore) / 5);
    return notAfter - now < soon ? [warn(`${name} expires on ${day(notAfter)}`, "renew it")] : [];
  });
}

const day = (at: number): string => new Date(at).toISOString().slice(0, 16).replace("T", " ");

/** 404 and 421: nothing is served there; 503: an outage, which is no service. */
const refusals: ReadonlySet<number> = new Set([400, 401, 403, 404, 421, 503]);

function probed({ url, host, what, status }: NonNullable<DoctorFacts["probes"]>[number]): readonly Finding[] {
  const where = `${url} for ${host}`;
  if (status === undefined) return [fail(`${where} gives no answer`, "check the URL, and that the gateway runs")];
  if (refusals.has(status)) return [];
  if (status >= 300 && status < 400) {
    return [warn(`${where} redirects ${what} (${status})`, "probe the address it leads to")];
  }
  return [
    fail(
      `${where}: ${what} was answered ${status}`,
      "include what wayleave render writes where this request is served",
    ),
  ];
}
