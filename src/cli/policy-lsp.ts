import { dirname, resolve } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import type { CliCommand } from "./command.ts";
import { testFailures } from "./policy-check.ts";
import { policyOptions, policyPath, readPolicy } from "./policy-source.ts";

export const policyLsp: CliCommand = {
  path: ["policy", "lsp"],
  summary: "serve an editor: findings while you type, quick fixes, completion, hover",
  details: [
    "Speaks the Language Server Protocol on stdin and stdout; an editor starts it. A file is checked with the others of its " +
      "folder, as `policy check` does, with the issuers of the configuration where there is one.",
  ],
  options: [{ spec: "--stdio", doc: "on stdin and stdout, which is all there is; editors say it" }, ...policyOptions],
  examples: ["policy lsp --stdio"],
  async run(io, input) {
    const [{ createConnection, ProposedFeatures, StreamMessageReader, StreamMessageWriter }, parts] = await Promise.all(
      [import("vscode-languageserver/node"), loadParts()],
    );
    const { serveEditor, readPolicyFiles, parsePolicy, vocabulary } = parts;
    const reader = new StreamMessageReader(process.stdin);
    const connection = createConnection(ProposedFeatures.all, reader, new StreamMessageWriter(process.stdout));
    const policy = resolve(await policyPath(io, input, undefined));
    const { issuers } = await readPolicy(io, input, policy).catch(() => ({ issuers: undefined }));
    const given = { vocabulary, ...(issuers === undefined ? {} : { issuers }) };
    serveEditor(connection, {
      version: packageJson.version,
      around: { vocabulary, issuers: issuers ?? [] },
      async filesOf(path) {
        const at = path === policy ? path : dirname(path);
        const { files, lock } = await readPolicyFiles(at, at);
        return lock === undefined ? files : [...files, lock];
      },
      async check(all) {
        const files = all.filter(({ name }) => !name.endsWith("wayleave.lock"));
        const lock = all.find(({ name }) => name.endsWith("wayleave.lock"));
        const { model, diagnostics } = parsePolicy({ files, ...given, ...(lock === undefined ? {} : { lock }) });
        return model === undefined ? diagnostics : [...diagnostics, ...(await testFailures(model, issuers ?? []))];
      },
    });
    // The protocol's `exit` ends the process; an editor that is gone closes stdin.
    await new Promise<void>((ended) => process.stdin.once("close", ended).once("end", ended));
    return 0;
  },
};

async function loadParts() {
  const [{ serveEditor }, { readPolicyFiles }, { parsePolicy }, { vocabulary }] = await Promise.all([
    import("./language-server.ts"),
    import("../config/policy-files.ts"),
    import("../policy/parse.ts"),
    import("../ci/providers.ts"),
  ]);
  return { serveEditor, readPolicyFiles, parsePolicy, vocabulary };
}
