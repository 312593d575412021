import { fingerprints } from "./fingerprint.ts";
import type { Diagnostic } from "./model.ts";

/**
 * Diagnostics as a SARIF 2.1.0 log of one run, for code scanning. Columns count characters (`unicodeCodePoints`), files are
 * relative to where the command ran. `driverVersion`: which Wayleave found them.
 */
export function sarifLog(
  diagnostics: readonly Diagnostic[],
  sources: ReadonlyMap<string, string>,
  driverVersion: string,
): object {
  const prints = fingerprints(diagnostics, sources);
  const codes = [...new Set(diagnostics.map(({ code }) => code))].toSorted();
  return {
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [
      {
        tool: {
          driver: {
            name: "wayleave policy check",
            semanticVersion: driverVersion,
            rules: codes.map((id) => ({ id, shortDescription: { text: id.replaceAll("_", " ") } })),
          },
        },
        columnKind: "unicodeCodePoints",
        results: diagnostics.map((diagnostic, at) => ({
          ruleId: diagnostic.code,
          ruleIndex: codes.indexOf(diagnostic.code),
          level: diagnostic.severity,
          message: { text: sentence(diagnostic) },
          locations: [{ physicalLocation: location(diagnostic) }],
          partialFingerprints: { "wayleave/v1": prints[at] },
        })),
      },
    ],
  };
}

function location({ place: { file, line, column, length } }: Diagnostic): object {
  return {
    artifactLocation: { uri: fileUri(file) },
    region: { startLine: line, startColumn: column, endColumn: column + length },
  };
}

/** A URI reference (RFC 3986 §4.1): relative as the path is; an absolute path with its scheme. */
function fileUri(path: string): string {
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  return path.startsWith("/") ? `file://${encoded}` : encoded;
}

/** All that is said of a finding, in one line of text. */
export function sentence({ message, label, help, note }: Diagnostic): string {
  return [message, label, help, note].filter((part) => part !== undefined).join(". ");
}
