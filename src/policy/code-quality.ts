import { fingerprints } from "./fingerprint.ts";
import type { Diagnostic } from "./model.ts";
import { sentence } from "./sarif.ts";

/** Diagnostics as GitLab's Code Quality report: what `artifacts:reports:codequality` takes. An error is major, a warning minor. */
export function codeQualityReport(
  diagnostics: readonly Diagnostic[],
  sources: ReadonlyMap<string, string>,
): readonly object[] {
  const prints = fingerprints(diagnostics, sources);
  return diagnostics.map((diagnostic, at) => ({
    description: sentence(diagnostic),
    check_name: diagnostic.code,
    fingerprint: prints[at],
    severity: diagnostic.severity === "error" ? "major" : "minor",
    location: { path: diagnostic.place.file, lines: { begin: diagnostic.place.line } },
  }));
}
