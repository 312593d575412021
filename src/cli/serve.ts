import type { StatusResponse } from "../api/contract.ts";
import type { Config } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, configOption } from "./command.ts";
import { loadWholeConfig } from "./load-config.ts";
import { count, labelled, painter, printable } from "./terminal.ts";

export const serve: CliCommand = {
  path: ["serve"],
  summary: "run the broker",
  details: [
    "Logs JSON lines on stdout; what it listens on, trusts and enforces is said on stderr. The policy is loaded again when its " +
      "files change and on SIGHUP; a policy with errors never replaces a good one. SIGTERM stops it in order.",
  ],
  options: [configOption],
  examples: ["serve", "serve --config /etc/wayleave/wayleave.yaml"],
  async run(io, input) {
    const config = await loadWholeConfig(io, input);
    const [{ startServer }, { pino }] = await Promise.all([import("../server.ts"), import("pino")]);
    const log = pino({ level: config.log.level, base: null });
    const server = await startServer(config, { log });
    const paint = painter(io, io.stderr);
    const status = server.status();
    io.stderr.write(
      `${paint("bold", `wayleave ${status.version}`)}\n${labelled(paint, summary(config, server.url, server.adminSocket, status))}`,
    );
    if (server.bootstrapFile !== undefined)
      io.stderr.write(labelled(paint, bootstrapLine(config, server.bootstrapFile)));
    const reload = () => {
      server.reloadPolicy().then(
        (version) => log.info({ policy: version }, "policy loaded"),
        (error: unknown) =>
          log.error(
            { detail: error instanceof WayleaveError ? error.message : "unknown" },
            "policy refused; the one in force stays",
          ),
      );
    };
    process.on("SIGHUP", reload);
    await new Promise<void>((resolve) => {
      process.once("SIGTERM", () => resolve()).once("SIGINT", () => resolve());
    });
    process.off("SIGHUP", reload);
    await server.close();
    return 0;
  },
};

function bootstrapLine({ issuer }: Config, file: string): readonly Line[] {
  const text = `nobody has signed in yet: wayleave login ${issuer} --bootstrap-token-file ${file}`;
  return [{ label: "bootstrap", text: printable(text) }];
}

interface Line {
  readonly label: string;
  readonly text: string;
}

function rolloutLines({ disk, candidate, canary }: StatusResponse["policy"]): readonly Line[] {
  const decides = canary ? "decides for its canary" : "decides nothing";
  return [
    ...(disk === undefined
      ? []
      : [{ label: "on disk", text: `${disk}: set aside by an operator until the files say something else` }]),
    ...(candidate === undefined ? [] : [{ label: "candidate", text: `${candidate}: ${decides}` }]),
  ];
}

/** What the broker listens on, trusts, enforces and only observes, and what is missing. */
export function summary(config: Config, url: string, adminSocket: string, status: StatusResponse): readonly Line[] {
  const { policy, issuers, last_job: lastJob } = status;
  const lines: Line[] = [
    { label: "listens", text: url === config.issuer ? url : `${url}, known to jobs as ${config.issuer}` },
    { label: "operators", text: adminSocket },
    ...(config.people === undefined
      ? []
      : [{ label: "signs in", text: `people of ${config.people.issuer} (${config.people.type})` }]),
    ...issuers.map((issuer) => ({ label: "trusts", text: `${issuer.name}  ${issuer.url}  ${knownKeys(issuer)}` })),
    {
      label: "policy",
      text: `${policy.version}${policy.problem === undefined || policy.sources ? "" : `; what is on disk was refused: ${policy.problem}`}`,
    },
    ...(policy.sources ?? []).map(({ name, version, problem }) => ({
      label: "source",
      text: `${name}  ${version}${problem === undefined ? "" : `; ${problem}`}`,
    })),
    ...rolloutLines(policy),
    ...config.gateways.map((gateway) => ({
      label: "enforces",
      text: `${enforced(gateway.targets, policy.observed)}  at ${gateway.name} (${gateway.kind})`,
    })),
    ...(policy.observed.length === 0
      ? []
      : [{ label: "observes", text: `${policy.observed.join(", ")}: recorded, and let through` }]),
    ...(policy.shared.length === 0
      ? []
      : [{ label: "passes", text: `${policy.shared.join(", ")}: some routes need no identity` }]),
    ...(policy.kept ?? []).map(({ target, seconds }) => ({
      label: "keeps",
      text: `${target}: while Wayleave is away, what it allowed goes on for ${seconds} s at most`,
    })),
    ...missing(config),
    lastJob === undefined ? { label: "waiting", text: "no job seen yet" } : { label: "last job", text: lastJob },
  ];
  return lines.map(({ label, text }) => ({ label, text: printable(text) }));
}

function knownKeys({ keys, problem }: StatusResponse["issuers"][number]): string {
  if (problem !== undefined) return problem;
  return keys === 0 ? "its keys are fetched when the first job comes" : count(keys, "key");
}

function enforced(targets: readonly string[], observed: readonly string[]): string {
  return targets.filter((target) => !observed.includes(target)).join(", ") || "nothing yet";
}

function missing({ issuers, gateways }: Config): readonly Line[] {
  const found: string[] = [];
  for (const { name, api, webhooks } of issuers) {
    if (api === undefined)
      found.push(`${name} has no API credential: facts such as change.merged are missing, and no job is looked up`);
    if (webhooks.length === 0)
      found.push(`${name} has no webhook: a job's end is noticed by wayleave end, lease or expiry`);
  }
  if (gateways.length === 0) found.push("no gateway is configured: nothing asks for decisions");
  return found.map((text) => ({ label: "missing", text }));
}
