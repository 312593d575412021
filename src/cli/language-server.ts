import { basename, dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  type CodeAction,
  CodeActionKind,
  type Connection,
  DiagnosticSeverity,
  type Diagnostic as EditorDiagnostic,
  type Range,
  TextDocumentSyncKind,
  TextDocuments,
} from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import type { Cursor, Surroundings } from "../policy/assist.ts";
import { completionsAt, hoverAt } from "../policy/assist.ts";
import type { Diagnostic, Place } from "../policy/model.ts";
import type { PolicyText } from "../policy/reading.ts";
import { proposedIn } from "../policy/suggest.ts";

/** What the server asks of the command that runs it. */
export interface LanguageServerDeps {
  /** Every file of the policy that a file belongs to, by absolute path, as on disk. Rejects where there is none. */
  readonly filesOf: (path: string) => Promise<readonly PolicyText[]>;
  /** As `policy check`: of the texts given, whose names are absolute paths. */
  readonly check: (files: readonly PolicyText[]) => Promise<readonly Diagnostic[]>;
  readonly around: Omit<Surroundings, "texts">;
  readonly version: string;
}

/** How long nobody has typed before the policy is checked, ms. */
const settleMs = 150;

/** Serves one editor over the connection until it exits: what `policy check` says, while somebody writes. */
export function serveEditor(connection: Connection, deps: LanguageServerDeps): void {
  const documents = new TextDocuments(TextDocument);
  let timer: NodeJS.Timeout | undefined;
  let shown: readonly string[] = [];

  const textsOf = (uri: string) => openTexts(uri, documents, deps);

  const checkAll = async (): Promise<void> => {
    const found = await findingsByUri(documents, deps);
    for (const uri of new Set([...found.keys(), ...shown])) {
      await connection.sendDiagnostics({ uri, diagnostics: [...(found.get(uri) ?? [])] });
    }
    shown = [...found.keys()];
  };

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      checkAll().catch((error: unknown) =>
        connection.console.error(error instanceof Error ? error.message : "unknown"),
      );
    }, settleMs);
  };
  const around = async (uri: string): Promise<Surroundings> => ({
    ...deps.around,
    texts: (await textsOf(uri)).map(({ text }) => text),
  });
  const cursorIn = (uri: string, position: { line: number; character: number }): Cursor => ({
    text: documents.get(uri)?.getText() ?? "",
    ...position,
  });

  connection.onInitialize(() => ({
    capabilities: {
      textDocumentSync: TextDocumentSyncKind.Incremental,
      completionProvider: { triggerCharacters: [" ", "[", "{", ","] },
      hoverProvider: true,
      codeActionProvider: { codeActionKinds: [CodeActionKind.QuickFix] },
    },
    serverInfo: { name: "wayleave", version: deps.version },
  }));
  connection.onCompletion(async ({ textDocument: { uri }, position }) =>
    completionsAt(cursorIn(uri, position), await around(uri)).map((item) => ({ ...item })),
  );
  connection.onHover(async ({ textDocument: { uri }, position }) => {
    const value = hoverAt(cursorIn(uri, position), await around(uri));
    return value === undefined ? null : { contents: { kind: "markdown", value } };
  });
  connection.onCodeAction(({ textDocument: { uri }, context }) =>
    context.diagnostics.flatMap((diagnostic) => fixOf(uri, diagnostic) ?? []),
  );
  documents.onDidChangeContent(later);
  documents.onDidClose(later);
  documents.onDidSave(later);
  connection.onShutdown(() => clearTimeout(timer));
  documents.listen(connection);
  connection.listen();
}

/** The texts of the policy a document belongs to: as they are in the editor, else as they are on disk. */
async function openTexts(
  uri: string,
  documents: TextDocuments<TextDocument>,
  { filesOf }: LanguageServerDeps,
): Promise<readonly PolicyText[]> {
  const path = pathOf(uri);
  const own = { name: path, text: "" };
  const onDisk = await filesOf(path).catch(() => [own]);
  const files = onDisk.some(({ name }) => name === path) ? onDisk : [...onDisk, own];
  return files.map(({ name, text }) => ({ name, text: documents.get(uriOf(name))?.getText() ?? text }));
}

/** Of every open document and the files that make one policy with it. */
async function findingsByUri(
  documents: TextDocuments<TextDocument>,
  deps: LanguageServerDeps,
): Promise<ReadonlyMap<string, readonly EditorDiagnostic[]>> {
  const found = new Map<string, EditorDiagnostic[]>();
  for (const { uri } of documents.all()) {
    if (found.has(uri)) continue; // checked with a file beside it
    const files = await openTexts(uri, documents, deps);
    const texts = new Map(files.map(({ name, text }) => [name, text]));
    for (const { name } of files) found.set(uriOf(name), []);
    for (const diagnostic of await deps.check(files)) {
      const { file } = diagnostic.place;
      found.get(uriOf(file))?.push(shownAs(diagnostic, texts.get(file) ?? ""));
    }
  }
  return found;
}

function pathOf(uri: string): string {
  try {
    return fileURLToPath(uri);
  } catch {
    return uri; // not saved yet: a policy of its own
  }
}

const uriOf = (path: string): string =>
  path.startsWith("/") ? pathToFileURL(join(dirname(path), basename(path))).href : path;

/** Columns of findings count characters, an editor's count UTF-16 units. */
function rangeOf({ line, column, length }: Place, text: string): Range {
  const characters = [...(text.split("\n")[line - 1] ?? "")];
  const units = (upTo: number) => characters.slice(0, upTo).join("").length;
  return {
    start: { line: line - 1, character: units(column - 1) },
    end: { line: line - 1, character: units(column - 1 + length) },
  };
}

function shownAs(diagnostic: Diagnostic, text: string): EditorDiagnostic {
  const { severity, code, message, place, label, help, note } = diagnostic;
  const proposed = help === undefined ? undefined : proposedIn(help);
  return {
    range: rangeOf(place, text),
    severity: severity === "error" ? DiagnosticSeverity.Error : DiagnosticSeverity.Warning,
    source: "wayleave",
    code,
    message: [message, label, help && `help: ${help}`, note && `note: ${note}`].filter(Boolean).join("\n"),
    ...(proposed === undefined ? {} : { data: { proposed } }),
  };
}

/** Did-you-mean as an edit. What the editor sends back is what it was sent. */
function fixOf(uri: string, diagnostic: EditorDiagnostic): CodeAction | undefined {
  const proposed: unknown = (diagnostic.data as { proposed?: unknown } | undefined)?.proposed;
  if (typeof proposed !== "string") return undefined;
  return {
    title: `Change to "${proposed}"`,
    kind: CodeActionKind.QuickFix,
    diagnostics: [diagnostic],
    isPreferred: true,
    edit: { changes: { [uri]: [{ range: diagnostic.range, newText: proposed }] } },
  };
}
