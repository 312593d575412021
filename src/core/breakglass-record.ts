/** One use of break-glass, or a token that was refused: as the responder beside a gateway wrote it down before it answered. */
export interface BreakglassUse {
  /** Of this use: `use_` and 16 characters. However often it is sent, it is recorded once. */
  readonly use: string;
  readonly gateway: string;
  readonly target: string;
  /** `POST /v1/releases`. */
  readonly operation: string;
  readonly host: string;
  /** By the responder's clock, ms since the epoch. */
  readonly at: number;
  readonly outcome: "allow" | "deny";
  /** `break_glass`, or why the token was refused. */
  readonly reason: string;
  /** What was signed; absent where the token could not be read. */
  readonly request?: {
    readonly id: string;
    readonly targets: readonly string[];
    readonly gateways: readonly string[];
    readonly reason: string;
    /** ms since the epoch. */
    readonly starts_at: number;
    readonly ends_at: number;
  };
  /** Who signed, where that was verified. */
  readonly approvers?: readonly string[];
  /** First 16 hex digits of the token's SHA-256. */
  readonly token: string;
  readonly detail?: string;
}

export interface BreakglassRecordData {
  readonly "breakglass.used": BreakglassUse;
}

/** Break-glass that two people signed and that somebody used, while its time is not over. */
export interface BreakglassInForce {
  readonly id: string;
  readonly reason: string;
  readonly targets: readonly string[];
  readonly gateways: readonly string[];
  readonly approvers: readonly string[];
  /** ISO 8601. */
  readonly ends_at: string;
  readonly uses: number;
}
