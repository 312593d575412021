/** One finding about a configuration file: the shape policy's findings have too, so that one renderer prints both. */
export interface Diagnostic {
  readonly severity: "error" | "warning";
  /** Stable snake_case. */
  readonly code: string;
  readonly message: string;
  readonly place: Place;
  readonly help?: string;
  readonly note?: string;
}

/** Where something stands in a file. Lines and columns start at 1; `length` is in characters. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly length: number;
}
