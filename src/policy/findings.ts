import type { Diagnostic, Place } from "./model.ts";
import { didYouMean } from "./suggest.ts";

/** What a small parser says of the text it was given: where in that text, and what is wrong. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  /** Offset into the text, UTF-16 units. */
  readonly at: number;
  readonly length: number;
  readonly help?: string;
}

export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: Problem };

export const parsed = <T>(value: T): Parsed<T> => ({ ok: true, value });

export function refused(code: string, message: string, at: number, length: number, help?: string): Parsed<never> {
  return {
    ok: false,
    problem: { code, message, at, length: Math.max(1, length), ...(help === undefined ? {} : { help }) },
  };
}

export interface Extra {
  readonly help?: string | undefined;
  readonly note?: string | undefined;
  readonly label?: string | undefined;
}

const most = 200;

/** Collects diagnostics, up to 200: a hopeless file is to cost no more than a bad one. */
export class Findings {
  readonly #list: Diagnostic[] = [];
  #errors = 0;
  #dropped = false;

  get errors(): number {
    return this.#errors;
  }

  /** True where reading on can change nothing: there is no model any more, and nothing more would be shown. */
  get full(): boolean {
    return this.#errors >= most;
  }

  error(code: string, place: Place, message: string, extra: Extra = {}): void {
    this.#errors++;
    this.#add("error", code, place, message, extra);
  }

  warn(code: string, place: Place, message: string, extra: Extra = {}): void {
    this.#add("warning", code, place, message, extra);
  }

  /** Did-you-mean, or the known names; nothing once the list is full, since it would not be printed. */
  near(word: string, candidates: Iterable<string>): string | undefined {
    return this.#list.length < most ? didYouMean(word, [...candidates]) : undefined;
  }

  /** In order of file (as given), line, column and code: the same input gives the same list. */
  sorted(files: readonly string[]): Diagnostic[] {
    const order = new Map(files.map((name, at) => [name, at]));
    const rank = (diagnostic: Diagnostic) => order.get(diagnostic.place.file) ?? files.length;
    const list = this.#list.toSorted(
      (a, b) =>
        rank(a) - rank(b) ||
        a.place.line - b.place.line ||
        a.place.column - b.place.column ||
        (a.code < b.code ? -1 : a.code > b.code ? 1 : 0),
    );
    const last = list.at(-1);
    if ((!this.#dropped && !this.full) || last === undefined) return list;
    const message = `these are the first ${most}; there may be more`;
    return [
      ...list,
      { severity: "error", code: "too_many_findings", message, place: last.place, help: "fix these first" },
    ];
  }

  #add(severity: Diagnostic["severity"], code: string, place: Place, message: string, extra: Extra): void {
    // Errors must never be crowded out by warnings: a full list still takes an error in a warning's place.
    if (this.#list.length >= most) {
      this.#dropped = true;
      if (severity === "warning") return;
      const at = this.#list.findLastIndex((diagnostic) => diagnostic.severity === "warning");
      if (at === -1) return;
      this.#list.splice(at, 1);
    }
    this.#list.push({
      severity,
      code,
      message,
      place,
      ...(extra.help === undefined ? {} : { help: extra.help }),
      ...(extra.note === undefined ? {} : { note: extra.note }),
      ...(extra.label === undefined ? {} : { label: extra.label }),
    });
  }
}
