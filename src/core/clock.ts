/** Where time comes from. Pure code never reads a clock; it is given `now` in milliseconds since the Unix epoch. */
export interface Clock {
  /** Wall clock, milliseconds since the Unix epoch. May jump. */
  now(): number;
  /** Monotonic milliseconds since an arbitrary start; for intervals and staleness. Never jumps back. */
  monotonic(): number;
}
