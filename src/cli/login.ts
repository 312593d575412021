import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { SignInOptions, SignInResponse } from "../api/contract.ts";
import { WayleaveError } from "../core/errors.ts";
import { actorText } from "../core/person.ts";
import { type CliCommand, caOption, type Input, jsonOption } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import type { DeviceCode } from "./device-flow.ts";
import { labelled, painter, printable } from "./terminal.ts";

export const login: CliCommand = {
  path: ["login"],
  summary: "sign in to a broker as an operator, with your company's account",
  details: [
    "Shows an address and a code; open the address in any browser and type the code. The commands for operators then work from " +
      "here, as far as your role goes, until the sign-in is over. It is bound to a key in ~/.config/wayleave, of mode 0600.",
    "On the broker's own machine no sign-in is needed: the socket in its data folder is enough.",
  ],
  args: [{ spec: "[url]", doc: "the broker's URL (default: WAYLEAVE_URL)" }],
  options: [
    { spec: "--bootstrap-token-file <file>", doc: "sign in with the token of a new installation instead" },
    { spec: "--client-secret-file <file>", doc: "secret of the application, where its directory wants one (Google)" },
    caOption,
    jsonOption,
  ],
  examples: ["login https://wayleave.acme.example", "login --bootstrap-token-file data/bootstrap.token"],
  async run(io, input) {
    const brokerUrl = brokerUrlOf(input.args[0] ?? io.env.WAYLEAVE_URL);
    const [{ Agent }, { trustedCa }] = await Promise.all([import("undici"), import("./job/trust.ts")]);
    const ca = trustedCa(io, input.text("caFile"));
    const agent = new Agent({
      allowH2: false,
      connect: { timeout: 10_000, ...(ca === undefined ? {} : { ca }) },
    });
    try {
      const found = await signIn(io, input, brokerUrl, agent);
      const path = await keep(io, input, brokerUrl, found);
      print(io, input, brokerUrl, found.answer, path);
      return 0;
    } finally {
      await agent.destroy();
    }
  },
};

type Agent = import("undici").Agent;

async function signIn(io: CommandIo, input: Input, brokerUrl: string, agent: Agent) {
  const [{ createProofKey }, { operatorRequest }] = await Promise.all([
    import("./job/proof-key.ts"),
    import("./operator-request.ts"),
  ]);
  const key = createProofKey();
  const at = `${brokerUrl}/operator/v1/sign-in`;
  const bootstrap = fileText(io, input, "bootstrapTokenFile", "--bootstrap-token-file");
  const options = await operatorRequest<SignInOptions>(agent, { method: "GET", url: at });
  const body =
    bootstrap === undefined ? { id_token: await idToken(io, input, options, agent) } : { bootstrap_token: bootstrap };
  const dpop = key.proof({ method: "POST", url: at, nowMs: io.now(), token: bootstrap ?? body.id_token });
  const answer = await operatorRequest<SignInResponse>(agent, { method: "POST", url: at, body, headers: { dpop } });
  return { key, answer };
}

async function idToken(io: CommandIo, input: Input, options: SignInOptions, agent: Agent): Promise<string> {
  const [{ deviceFlow }, undici] = await Promise.all([import("./device-flow.ts"), import("undici")]);
  const clientSecret = fileText(io, input, "clientSecretFile", "--client-secret-file");
  // The package's fetch, because Node's own takes only the dispatcher it was built with. Their types differ in name only.
  const fetchIt = undici.fetch as unknown as (target: unknown, init: unknown) => Promise<Response>;
  return deviceFlow(io, {
    options,
    ...(clientSecret === undefined ? {} : { clientSecret }),
    fetch: (target, init) => fetchIt(target, { ...init, dispatcher: agent }),
    shown: (code) => show(io, input, code),
  });
}

/** One line of JSON, so that a program can read it before the person has typed anything. */
function show(io: CommandIo, input: Input, code: DeviceCode): void {
  if (input.flag("json")) {
    io.stdout.write(`${JSON.stringify(code)}\n`);
    return;
  }
  const minutes = Math.max(1, Math.round(code.expires_in / 60));
  io.stderr.write(
    labelled(painter(io, io.stderr), [
      { label: "open", text: printable(code.verification_uri) },
      { label: "code", text: printable(code.user_code) },
      ...(code.verification_uri_complete === undefined
        ? []
        : [{ label: "or open", text: printable(code.verification_uri_complete) }]),
      {
        label: "note",
        text: `It is yours because you asked for it here; whoever sends you a code wants your rights. ${minutes} min.`,
      },
    ]),
  );
}

async function keep(
  io: CommandIo,
  input: Input,
  brokerUrl: string,
  { key, answer }: Awaited<ReturnType<typeof signIn>>,
): Promise<string> {
  const { keepSignIn } = await import("./sign-in-file.ts");
  const caFile = input.text("caFile");
  return keepSignIn(io, {
    brokerUrl,
    token: answer.token,
    key: key.jwk,
    expiresAt: answer.expires_at,
    ...(caFile === undefined ? {} : { caFile: resolve(io.cwd, caFile) }),
  });
}

function print(io: CommandIo, input: Input, broker: string, answer: SignInResponse, path: string): void {
  const { token: _, ...said } = answer;
  if (input.flag("json")) {
    io.stdout.write(`${JSON.stringify({ broker, ...said })}\n`);
    return;
  }
  io.stdout.write(
    labelled(painter(io, io.stdout), [
      { label: "signed in", text: printable(actorText(said.who)) },
      { label: "broker", text: broker },
      { label: "roles", text: said.roles.join(", ") },
      { label: "until", text: said.expires_at },
      { label: "kept in", text: path },
      { label: "next", text: "wayleave whoami" },
    ]),
  );
}

function brokerUrlOf(text: string | undefined): string {
  if (!text) {
    throw new WayleaveError("invalid_request", "Which broker? Give its URL: wayleave login https://wayleave.example");
  }
  const url = text.replace(/\/+$/, "");
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const loopback = parsed !== undefined && /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(parsed.hostname);
  if (parsed?.protocol === "https:" || (parsed?.protocol === "http:" && loopback)) return url;
  throw new WayleaveError("invalid_request", `${JSON.stringify(text)} is no https URL (http only on loopback).`);
}

function fileText(io: CommandIo, input: Input, name: string, option: string): string | undefined {
  const path = input.text(name);
  if (path === undefined) return undefined;
  try {
    const text = readFileSync(resolve(io.cwd, path), "utf8").trim();
    if (text !== "") return text;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const gone = name === "bootstrapTokenFile" && code === "ENOENT" ? " It goes away when somebody signs in." : "";
    throw new WayleaveError("invalid_request", `${path} cannot be read (${code}). Correct ${option}.${gone}`, {
      cause,
    });
  }
  throw new WayleaveError("invalid_request", `${path} is empty. Correct ${option}.`);
}
