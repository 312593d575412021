import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type CodeAction,
  type CompletionItem,
  createProtocolConnection,
  type Hover,
  type ProtocolConnection,
  type PublishDiagnosticsParams,
  StreamMessageReader,
  StreamMessageWriter,
} from "vscode-languageserver/node";

const bin = fileURLToPath(new URL("../../bin/wayleave", import.meta.url));
const targets = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
  ledger: { http: { hosts: [ledger.internal] } }
who:
  shop: { gitlab: { project: acme/shop } }
`;
const roles = `version: 1
roles:
  read:
    for: [shopp]
    allow: { billing: [GET /v1/🦆] }
`;

let folder: string;
let server: ChildProcess;
let editor: ProtocolConnection;
let version = 1;
const published: PublishDiagnosticsParams[] = [];
let woken: (() => void) | undefined;
const uri = () => pathToFileURL(join(folder, "policy", "roles.yaml")).href;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-lsp-"));
  mkdirSync(join(folder, "policy"));
  writeFileSync(join(folder, "policy", "targets.yaml"), targets);
  writeFileSync(join(folder, "policy", "roles.yaml"), "version: 1\n");
  server = spawn(bin, ["policy", "lsp", "--stdio"], { cwd: folder, stdio: ["pipe", "pipe", "inherit"] });
  const { stdin, stdout } = server;
  if (stdin === null || stdout === null) throw new TypeError("pipes were asked for");
  editor = createProtocolConnection(new StreamMessageReader(stdout), new StreamMessageWriter(stdin));
  editor.onNotification("textDocument/publishDiagnostics", (params: PublishDiagnosticsParams) => {
    published.push(params);
    woken?.();
  });
  editor.listen();
  const answer = await editor.sendRequest<{ capabilities: object }>("initialize", {
    processId: null,
    rootUri: null,
    capabilities: {},
  });
  expect(answer.capabilities).toMatchObject({ hoverProvider: true, completionProvider: {} });
  await editor.sendNotification("initialized", {});
  const textDocument = { uri: uri(), languageId: "yaml", version, text: roles };
  await editor.sendNotification("textDocument/didOpen", { textDocument });
});

afterAll(async () => {
  const ended = new Promise((resolve) => server.once("exit", resolve));
  await editor.sendRequest("shutdown");
  await editor.sendNotification("exit");
  expect(await ended).toBe(0);
  editor.dispose();
  rmSync(folder, { recursive: true });
});

/** The next findings of the file that are as wanted. */
async function findings(wanted: (found: PublishDiagnosticsParams) => boolean): Promise<PublishDiagnosticsParams> {
  for (;;) {
    const found = published.splice(0).find((one) => one.uri === uri() && wanted(one));
    if (found !== undefined) return found;
    await new Promise<void>((resolve) => {
      woken = resolve;
      if (published.length > 0) resolve();
    });
  }
}

async function type(text: string): Promise<void> {
  const textDocument = { uri: uri(), version: ++version };
  await editor.sendNotification("textDocument/didChange", { textDocument, contentChanges: [{ text }] });
}

/** Where the mark `|` stands, and the text without it. */
async function at(
  marked: string,
): Promise<{ textDocument: { uri: string }; position: { line: number; character: number } }> {
  const before = marked.slice(0, marked.indexOf("|")).split("\n");
  await type(marked.replace("|", ""));
  return {
    textDocument: { uri: uri() },
    position: { line: before.length - 1, character: (before.at(-1) ?? "").length },
  };
}

const complete = async (marked: string) =>
  (await editor.sendRequest<CompletionItem[]>("textDocument/completion", await at(marked))).map(({ label }) => label);
const hover = async (marked: string) => {
  const found = await editor.sendRequest<Hover | null>("textDocument/hover", await at(marked));
  return (found?.contents as { value: string } | undefined)?.value;
};

test("what `policy check` says is shown where it stands, over all files of the folder, and a quick fix mends it", async () => {
  const { diagnostics } = await findings((found) => found.diagnostics.length > 0);
  expect(diagnostics).toMatchObject([
    {
      code: "who_unknown",
      severity: 1,
      source: "wayleave",
      range: { start: { line: 3, character: 10 }, end: { line: 3, character: 15 } },
    },
  ]);
  const [diagnostic] = diagnostics;
  const range = diagnostic?.range ?? { start: { line: 0, character: 0 }, end: { line: 0, character: 0 } };
  const actions = await editor.sendRequest<CodeAction[]>("textDocument/codeAction", {
    textDocument: { uri: uri() },
    range,
    context: { diagnostics },
  });
  expect(actions).toMatchObject([
    { title: 'Change to "shop"', kind: "quickfix", edit: { changes: { [uri()]: [{ range, newText: "shop" }] } } },
  ]);
  await type(roles.replace("shopp", "shop"));
  expect((await findings(() => true)).diagnostics).toEqual([]);
});

test("columns behind a character of two units are an editor's", async () => {
  await type(roles.replace("shopp", "shop").replace("🦆]", "🦆, GETT]"));
  const [found] = (await findings(({ diagnostics }) => diagnostics.length > 0)).diagnostics;
  expect(found?.range.start).toEqual({ line: 4, character: 35 });
});

test("a policy's own failing test is a finding", async () => {
  const failing = `${roles.replace("shopp", "shop")}tests:\n  - { name: t, as: { gitlab: { project: acme/x } }, can: [GET billing /v1/x] }\n`;
  await type(failing);
  const [found] = (await findings(({ diagnostics }) => diagnostics.length > 0)).diagnostics;
  expect(found).toMatchObject({ code: "test_failed", range: { start: { line: 6 } } });
});

test.each([
  { at: "version: 1\nroles:\n  read:\n    for: [|]\n", offers: ["shop"] },
  { at: "version: 1\nroles:\n  read:\n    for: [shop]\n    allow: { | }\n", offers: ["billing", "ledger"] },
  { at: "version: 1\nroles:\n  read:\n    for: [shop]\n    allow:\n      |\n", offers: ["billing", "ledger"] },
  { at: "version: 1\ndeny:\n  - { for: { kind: agent }, targets: [|] }\n", offers: ["billing", "ledger"] },
  { at: "version: 1\nwho:\n  x: { gitlab: { | } }\n", offers: ["project", "ref", "environment"] },
  { at: "version: 1\nwho:\n  x:\n    buildkite:\n      |\n", offers: ["organization", "pipeline"] },
])("completes at $at", async ({ at: marked, offers }) => {
  const found = await complete(marked);
  expect(found).toEqual(expect.arrayContaining(offers));
  if (!marked.includes("who:")) expect(found).toEqual(offers);
});

test.each([
  {
    at: "version: 1\nwho:\n  x: { gitlab: { project: acme/x, ref_pro|tected: true } }\n",
    says: /the branch or tag is protected/,
  },
  { at: "version: 1\nroles:\n  read:\n    for: [sh|op]\n", says: /selector \*\*shop\*\*[\s\S]*acme\/shop/ },
  { at: "version: 1\nroles:\n  read:\n    for: [shop]\n    allow: { bill|ing: [GET /] }\n", says: /billing\.internal/ },
  {
    at: "version: 1\nroles:\n  read:\n    for: [shop]\n    when: job.envir|onment == 'x'\n",
    says: /the job's environment/,
  },
  { at: "version: 1\nroles:\n  read:\n    for: [shop]\n    tt|l: 10m\n", says: /\*\*ttl\*\*/ },
])("hover at $at", async ({ at: marked, says }) => {
  expect(await hover(marked)).toMatch(says);
});

test("what means nothing has no hover, and what cannot be read is answered all the same", async () => {
  expect(await hover("version: 1\n# no|thing\n")).toBeUndefined();
  expect(await complete("version: 1\nroles: [[[{{{ &a *a !!x |")).toEqual([]);
  expect(await complete("|")).toEqual([]);
});
