import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { askPlan, type InitPlan, planOptions } from "./init-plan.ts";
import { configText, nginxText, pipelineText, policyText } from "./init-texts.ts";
import { loadWholeConfig } from "./load-config.ts";
import { writeIncludes } from "./render-nginx.ts";
import { count, labelled, painter } from "./terminal.ts";

export const init: CliCommand = {
  path: ["init"],
  summary: "write a first configuration, policy and NGINX include",
  details: [
    "Asks three things, or takes them as options. Nothing that exists is overwritten. The policy only observes at first.",
  ],
  options: planOptions,
  examples: ["init", "init --yes --gitlab-url https://git.example --project a/shop --upstream billing.internal"],
  async run(io, input) {
    const plan = await askPlan(input);
    const files = filesOf(plan);
    const taken = files.map(({ path }) => path).find((path) => existsSync(resolve(io.cwd, path)));
    if (taken !== undefined) {
      throw new WayleaveError(
        "invalid_request",
        `${taken} exists, and init overwrites nothing. Run it in another folder, or remove the file.`,
      );
    }
    for (const { path, text, mode } of files) {
      const absolute = resolve(io.cwd, path);
      mkdirSync(dirname(absolute), { recursive: true, mode: mode === 0o600 ? 0o700 : 0o755 });
      writeFileSync(absolute, text, { mode, flag: "wx" });
    }
    const includes = await renderFirst(io);
    const paint = painter(io, io.stdout);
    const keys = await issuerKeys(io, plan).catch((error: unknown) => error as WayleaveError);
    const reached = typeof keys === "number";
    const folder = join("nginx", "edge-1");
    const written = [...files, { path: `${folder}/`, what: `${includes.files.length} files for your NGINX` }];
    io.stdout.write(
      labelled(paint, [
        ...written.map(({ path, what }) => ({ label: "wrote", text: `${path.padEnd(pathWidth)}  ${what}` })),
        {
          label: "issuer",
          text: reached ? `${plan.gitlabUrl} answers with ${count(keys, "key")}` : `not reached: ${keys.message}`,
        },
        ...(plan.issuer.startsWith("http:")
          ? [{ label: "note", text: `jobs on other machines cannot reach ${plan.issuer}; they need an https address` }]
          : []),
      ]),
    );
    const heading = (text: string) => `\n${paint("bold", text)}\n\n`;
    io.stdout.write(`${heading(`In .gitlab-ci.yml of ${plan.project}:`)}${pipelineText(plan)}`);
    io.stdout.write(`${heading("In your NGINX:")}${nginxText(plan, resolve(io.cwd, folder))}`);
    io.stdout.write(`\n${paint("bold", "Then:")}  wayleave serve\n`);
    return reached ? 0 : keys.wire.exit;
  },
};

/** Of `secrets/encryption.key`: what stands behind the paths lines up. */
const pathWidth = 22;

interface NewFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
  readonly what: string;
}

function filesOf(plan: InitPlan): readonly NewFile[] {
  const secret = (path: string, what: string): NewFile => ({
    path,
    text: `${randomBytes(32).toString("base64")}\n`,
    mode: 0o600,
    what,
  });
  return [
    { path: "wayleave.yaml", text: configText(plan), mode: 0o644, what: "the broker's configuration" },
    {
      path: join("policy", "policy.yaml"),
      text: policyText(plan),
      mode: 0o644,
      what: "who may do what; observes only, at first",
    },
    secret(join("secrets", "encryption.key"), "encrypts the broker's keys; keep it out of Git"),
    secret(join("secrets", "edge-1.secret"), "by which your NGINX proves itself; keep it out of Git"),
  ];
}

async function renderFirst(io: CommandIo) {
  const input = new Input([], { config: resolve(io.cwd, "wayleave.yaml") });
  const config = await loadWholeConfig(io, input);
  const [gateway] = config.gateways;
  if (gateway?.kind !== "nginx") throw new TypeError("init writes a configuration with a gateway");
  const folder = resolve(io.cwd, "nginx", gateway.name);
  return writeIncludes(io, input, { gateway, behind: {}, folder, directory: folder, policyPath: config.policyPath });
}

/** How many keys the issuer publishes. Rejects `issuer_unreachable`, saying what to do. */
async function issuerKeys(io: CommandIo, { gitlabUrl, caFile }: InitPlan): Promise<number> {
  const { Agent, request } = await import("undici");
  const { getCACertificates } = await import("node:tls");
  const ca =
    caFile === undefined
      ? {}
      : { ca: [...getCACertificates("default"), readFileSync(resolve(io.cwd, caFile), "utf8")] };
  const dispatcher = new Agent({ connect: { timeout: 10_000, ...ca }, headersTimeout: 10_000 });
  try {
    const get = async (url: string): Promise<Readonly<Record<string, unknown>>> => {
      const response = await request(url, { dispatcher });
      if (response.statusCode !== 200) throw new Error(`HTTP ${response.statusCode}`);
      return (await response.body.json()) as Record<string, unknown>;
    };
    const discovery = await get(`${gitlabUrl}/.well-known/openid-configuration`);
    const { keys } = await get(String(discovery.jwks_uri));
    if (!Array.isArray(keys) || keys.length === 0) throw new Error("no keys");
    return keys.length;
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
    const next = /CERT|SIGNATURE|ISSUER/.test(why)
      ? "Its certificate is not signed by a CA known here: add `ca_file: <PEM file>` to the issuer in wayleave.yaml."
      : "Correct `url` in wayleave.yaml, relative root included; an instance out of reach needs `jwks_file`.";
    const detail = `The keys of ${gitlabUrl} could not be fetched (${why}). ${next}`;
    throw new WayleaveError("issuer_unreachable", detail, { cause });
  } finally {
    await dispatcher.destroy();
  }
}
