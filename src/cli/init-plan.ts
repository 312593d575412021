import { WayleaveError } from "../core/errors.ts";
import type { CliWord, Input } from "./command.ts";

/** What `init` needs to know. */
export interface InitPlan {
  /** `iss` of the GitLab instance, relative root included, without final slash. */
  readonly gitlabUrl: string;
  readonly project: string;
  /** Host name of the service. */
  readonly host: string;
  /** Target name made of it. */
  readonly target: string;
  /** The broker's own address. */
  readonly issuer: string;
  readonly trustDomain: string;
  /** Host and port the broker listens on. */
  readonly listen: string;
  /** Absolute path on the gateway's machine. */
  readonly accessLog: string;
  readonly caFile?: string;
}

export const planOptions: readonly CliWord[] = [
  { spec: "--gitlab-url <url>", doc: "your GitLab, with its relative root (default: https://gitlab.com)" },
  { spec: "--project <path>", doc: "a project whose jobs shall reach the service: group/project" },
  { spec: "--upstream <host>", doc: "the service behind your NGINX, by its host name or URL" },
  { spec: "--issuer <url>", doc: "address jobs reach this broker at (default: http://127.0.0.1:8700)" },
  { spec: "--trust-domain <name>", doc: "SPIFFE trust domain (default: wayleave.internal)" },
  {
    spec: "--listen <address>",
    doc: "host and port this broker listens on (default: 127.0.0.1, and 8700 or the issuer's port)",
  },
  { spec: "--access-log <file>", doc: "where your NGINX shall log requests (default: /var/log/nginx/wayleave.log)" },
  { spec: "--ca-file <file>", doc: "PEM certificates to trust for GitLab" },
  { spec: "--yes", doc: "ask nothing: take defaults for what is not given" },
];

/** The plan from options, and from questions where a terminal can answer them. Throws `invalid_request` naming what is missing. */
export async function askPlan(input: Input): Promise<InitPlan> {
  const ask = input.flag("yes") || !process.stdin.isTTY ? undefined : await questions();
  try {
    const gitlabUrl = input.text("gitlabUrl") ?? (await ask?.("GitLab URL", "https://gitlab.com"));
    const project = input.text("project") ?? (await ask?.("Project (group/project)"));
    const upstream = input.text("upstream") ?? (await ask?.("Service behind your NGINX (host name)"));
    return checkPlan(input, gitlabUrl ?? "https://gitlab.com", project, upstream);
  } finally {
    ask?.close();
  }
}

function checkPlan(
  input: Input,
  gitlabUrl: string,
  project: string | undefined,
  upstream: string | undefined,
): InitPlan {
  if (!project || !upstream) {
    const what = [project ? "" : "--project", upstream ? "" : "--upstream"].filter(Boolean).join(" and ");
    throw new WayleaveError(
      "invalid_request",
      `init needs ${what}; give them as options, or run it in a terminal without --yes.`,
    );
  }
  if (!/^[^\s/"]+(\/[^\s/"]+)+$/.test(project)) {
    throw new WayleaveError(
      "invalid_request",
      `--project ${JSON.stringify(project)} is no project path. Write group/project.`,
    );
  }
  if (!URL.canParse(gitlabUrl)) {
    throw new WayleaveError(
      "invalid_request",
      `--gitlab-url ${JSON.stringify(gitlabUrl)} is no URL. Write https://gitlab.example.`,
    );
  }
  const host = hostOf(upstream);
  const caFile = input.text("caFile");
  const issuer = trimmed(input.text("issuer") ?? "http://127.0.0.1:8700");
  if (!URL.canParse(issuer)) {
    throw new WayleaveError(
      "invalid_request",
      `--issuer ${JSON.stringify(issuer)} is no URL. Write https://wayleave.example.`,
    );
  }
  return {
    gitlabUrl: trimmed(gitlabUrl),
    project,
    host,
    target: targetOf(host),
    issuer,
    trustDomain: input.text("trustDomain") ?? "wayleave.internal",
    listen: input.text("listen") ?? listenAddress(issuer),
    accessLog: input.text("accessLog") ?? "/var/log/nginx/wayleave.log",
    ...(caFile === undefined ? {} : { caFile }),
  };
}

async function questions() {
  const { createInterface } = await import("node:readline/promises");
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const one = async (question: string, otherwise?: string): Promise<string | undefined> => {
    const answer = await terminal.question(`${question}${otherwise === undefined ? "" : ` [${otherwise}]`}: `);
    return answer.trim() || otherwise;
  };
  return Object.assign(one, { close: () => terminal.close() });
}

const trimmed = (url: string): string => url.replace(/\/+$/, "");

function hostOf(upstream: string): string {
  const text = upstream.includes("://") ? upstream : `https://${upstream}`;
  const host = URL.canParse(text) ? new URL(text).hostname : "";
  if (/^[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(host)) return host;
  throw new WayleaveError(
    "invalid_request",
    `--upstream ${JSON.stringify(upstream)} is no host name. Write billing.internal.`,
  );
}

/** `billing.internal` → `billing`. An address has no word in it. */
function targetOf(host: string): string {
  const [word = ""] = host.split(".");
  return /^[a-z]/.test(word) ? word.replace(/-+$/, "") : "service";
}

/** The loopback address a local issuer URL names; the default one for a broker that a proxy fronts. */
function listenAddress(issuer: string): string {
  const { protocol, port } = new URL(issuer);
  return `127.0.0.1:${protocol === "http:" && port !== "" ? port : "8700"}`;
}
