import { X509Certificate } from "node:crypto";
import { existsSync, globSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parse } from "yaml";
import type { Config } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import type { LintTarget } from "../gateway/nginx/lint.ts";
import type { Diagnostic } from "../policy/model.ts";
import type { Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import type { CertificateFacts, CertificateFile, EnvoyFile } from "./doctor-facts.ts";
import { compilePolicy } from "./policy-source.ts";

/** The NGINX lint over the named configuration; undefined where none is named. */
export async function nginxFindings(
  config: Config,
  io: CommandIo,
  input: Input,
): Promise<readonly Diagnostic[] | undefined> {
  const name = input.text("nginxConf");
  if (name === undefined) return undefined;
  const file = resolve(io.cwd, name);
  const [{ lintNginx }, { policy }] = await Promise.all([
    import("../gateway/nginx/lint.ts"),
    compilePolicy(io, input, config.policyPath),
  ]);
  const fronted = new Set(config.gateways.flatMap(({ kind, targets }) => (kind === "nginx" ? targets : [])));
  const targets: readonly LintTarget[] = [...fronted].flatMap((target) => policy.targets.get(target) ?? []);
  const read = (path: string) => (existsSync(path) ? readFileSync(path, "utf8") : undefined);
  return lintNginx({
    file,
    text: readNamed(file, "--nginx-conf"),
    read,
    glob: (pattern) => globSync(pattern).toSorted(),
    targets,
  });
}

/** Istio's and Linkerd's lints over the named files; undefined where none is named. */
export async function resourceFindings(
  config: Config,
  io: CommandIo,
  input: Input,
): Promise<readonly Diagnostic[] | undefined> {
  const names = input.list("resources");
  if (names.length === 0) return undefined;
  const [{ lintIstio }, { lintLinkerd }] = await Promise.all([
    import("../gateway/istio/lint.ts"),
    import("../gateway/linkerd/lint.ts"),
  ]);
  const files = names.map((file) => ({ file, text: readNamed(resolve(io.cwd, file), "--resources") }));
  const workloads = config.gateways.flatMap((gateway) =>
    gateway.kind === "istio"
      ? gateway.workloads.map(({ target, labels, port }) => ({ target, namespace: gateway.namespace, labels, port }))
      : [],
  );
  const found = [...lintIstio({ files, workloads }), ...lintLinkerd(files)];
  return [...new Map(found.map((one) => [JSON.stringify([one.code, one.place]), one])).values()];
}

export function envoyFiles(io: CommandIo, input: Input): readonly EnvoyFile[] | undefined {
  const names = input.list("envoyConfig");
  if (names.length === 0) return undefined;
  return names.map((file) => {
    const text = readNamed(resolve(io.cwd, file), "--envoy-config");
    try {
      return { file, config: parse(text) as unknown }; // JSON is YAML
    } catch (cause) {
      throw new WayleaveError("invalid_request", `--envoy-config ${file} is neither YAML nor JSON. Correct it.`, {
        cause,
      });
    }
  });
}

/** Chains of the configuration, of gateways whose files are here, and of the files that are named. */
export function certificateFiles(config: Config, io: CommandIo, input: Input): readonly CertificateFile[] {
  const named = input
    .list("certificate")
    .map((file) => ({ file, text: readNamed(resolve(io.cwd, file), "--certificate") }));
  const { tls } = config.listen;
  const { ca } = config.spiffe;
  const gateways = config.gateways.flatMap((gateway) => {
    const file = gateway.kind === "envoy" ? gateway.tls?.certFile : undefined;
    return file !== undefined && existsSync(file) ? [{ file, text: readNamed(file, "tls.cert_file") }] : [];
  });
  const configured = [
    ...(tls === undefined ? [] : [{ file: "listen.tls", text: tls.cert }]),
    ...(ca === undefined ? [] : [{ file: "spiffe.ca", text: ca.cert }]),
  ];
  return [...configured, ...gateways, ...named].map(({ file, text }) => ({ file, ...chainOf(text) }));
}

function chainOf(text: string): Omit<CertificateFile, "file"> {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) return { chain: [], problem: "holds no certificate" };
  try {
    const certificates = blocks.map((block) => new X509Certificate(block));
    return { chain: certificates.map((one, at) => factsOf(one, certificates[at + 1])) };
  } catch {
    return { chain: [], problem: "holds a damaged certificate" };
  }
}

function factsOf(certificate: X509Certificate, next: X509Certificate | undefined): CertificateFacts {
  const { subject, subjectAltName, ca, validFromDate, validToDate } = certificate;
  return {
    subject: subject?.replaceAll("\n", ", ") || subjectAltName || "a certificate without a subject",
    authority: ca,
    notBefore: validFromDate.getTime(),
    notAfter: validToDate.getTime(),
    signedByNext: next === undefined || (certificate.checkIssued(next) && certificate.verify(next.publicKey)),
  };
}

function readNamed(path: string, option: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `${option} ${path} cannot be read (${code}). Correct the path.`, {
      cause,
    });
  }
}
