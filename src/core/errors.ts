/**
 * One row per error code: what each wire says. Codes are public: never renamed, never reused.
 * `docs/reference/errors.md` is held against this table by a test.
 *
 * `oauth` is the RFC 6749 §5.2 code (for faults the two codes of §4.1.2.1); `exit` is the CLI's exit status:
 * 1 internal, 2 usage or bad input, 3 refused, 4 not found, 5 no answer (an outage, never a refusal).
 */
const table = {
  invalid_request: { http: 400, oauth: "invalid_request", exit: 2 },
  payload_too_large: { http: 413, oauth: "invalid_request", exit: 2 },
  unsupported_grant_type: { http: 400, oauth: "unsupported_grant_type", exit: 2 },
  invalid_target: { http: 400, oauth: "invalid_target", exit: 3 },
  invalid_scope: { http: 400, oauth: "invalid_scope", exit: 3 },
  subject_token_invalid: { http: 400, oauth: "invalid_request", exit: 3 },
  subject_token_expired: { http: 400, oauth: "invalid_request", exit: 3 },
  subject_token_replayed: { http: 400, oauth: "invalid_request", exit: 3 },
  audience_refused: { http: 400, oauth: "invalid_request", exit: 3 },
  issuer_unknown: { http: 400, oauth: "invalid_request", exit: 3 },
  issuer_unreachable: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  identity_refused: { http: 400, oauth: "invalid_request", exit: 3 },
  project_id_changed: { http: 400, oauth: "invalid_request", exit: 3 },
  no_role: { http: 400, oauth: "unauthorized_client", exit: 3 },
  job_over: { http: 400, oauth: "invalid_grant", exit: 3 },
  job_not_running: { http: 400, oauth: "invalid_grant", exit: 3 },
  ci_api_unreachable: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  refresh_token_invalid: { http: 400, oauth: "invalid_grant", exit: 3 },
  proof_invalid: { http: 400, oauth: "invalid_dpop_proof", exit: 3 },
  proof_required: { http: 400, oauth: "invalid_dpop_proof", exit: 3 },
  proof_replayed: { http: 400, oauth: "invalid_dpop_proof", exit: 3 },
  proof_nonce_required: { http: 401, oauth: "use_dpop_nonce", exit: 3 },
  proof_nonce_stale: { http: 401, oauth: "use_dpop_nonce", exit: 3 },
  issuance_capped: { http: 429, oauth: "temporarily_unavailable", exit: 3 },
  session_ended: { http: 400, oauth: "invalid_grant", exit: 3 },
  session_suspended: { http: 400, oauth: "invalid_grant", exit: 3 },
  session_not_found: { http: 404, oauth: "invalid_grant", exit: 4 },
  credential_invalid: { http: 401, oauth: "invalid_client", exit: 3 },
  gateway_unauthenticated: { http: 403, oauth: "invalid_client", exit: 3 },
  webhook_refused: { http: 401, oauth: "invalid_request", exit: 3 },
  webhook_malformed: { http: 400, oauth: "invalid_request", exit: 2 },
  sign_in_required: { http: 401, oauth: "invalid_client", exit: 3 },
  id_token_refused: { http: 403, oauth: "access_denied", exit: 3 },
  groups_incomplete: { http: 403, oauth: "access_denied", exit: 3 },
  role_missing: { http: 403, oauth: "access_denied", exit: 3 },
  bootstrap_refused: { http: 403, oauth: "access_denied", exit: 3 },
  access_denied: { http: 403, oauth: "access_denied", exit: 3 },
  record_not_found: { http: 404, oauth: "invalid_request", exit: 4 },
  not_found: { http: 404, oauth: "invalid_request", exit: 4 },
  no_candidate: { http: 409, oauth: "invalid_request", exit: 3 },
  candidate_changed: { http: 409, oauth: "invalid_request", exit: 3 },
  policy_not_kept: { http: 404, oauth: "invalid_request", exit: 4 },
  policy_invalid: { http: 422, oauth: "invalid_request", exit: 2 },
  config_invalid: { http: 422, oauth: "invalid_request", exit: 2 },
  keep_unsupported: { http: 422, oauth: "invalid_request", exit: 2 },
  render_refused: { http: 422, oauth: "invalid_request", exit: 2 },
  csr_invalid: { http: 400, oauth: "invalid_request", exit: 2 },
  spiffe_id_refused: { http: 403, oauth: "access_denied", exit: 3 },
  bundle_invalid: { http: 422, oauth: "invalid_request", exit: 2 },
  key_not_found: { http: 404, oauth: "invalid_request", exit: 4 },
  key_not_ready: { http: 409, oauth: "invalid_request", exit: 3 },
  key_unavailable: { http: 503, oauth: "server_error", exit: 1 },
  nats_unavailable: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  journal_unavailable: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  journal_corrupt: { http: 500, oauth: "server_error", exit: 1 },
  store_unavailable: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  store_conflict: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  store_taken: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  broker_unreachable: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  breakglass_malformed: { http: 400, oauth: "invalid_request", exit: 2 },
  breakglass_too_long: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_unsigned: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_same_signer: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_unlisted: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_signature_invalid: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_wrong_gateway: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_wrong_target: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_not_yet: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_expired: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_ambiguous: { http: 403, oauth: "access_denied", exit: 3 },
  breakglass_unrecorded: { http: 503, oauth: "temporarily_unavailable", exit: 5 },
  internal: { http: 500, oauth: "server_error", exit: 1 },
} as const;

export type ErrorCode = keyof typeof table;

/** Every error code, in table order. */
export const errorCodes = Object.keys(table) as ErrorCode[];

/** The one error class. Recognise it by `code`; each wire converts it in exactly one function. */
export class WayleaveError extends Error {
  override readonly name = "WayleaveError";
  readonly code: ErrorCode;
  /** When the same may be asked again; whole seconds. */
  readonly retryAfterSeconds?: number;

  /** @param detail Shown to the caller: one cause and one fix, and no token, key, SQL or upstream body. */
  constructor(code: ErrorCode, detail: string, options?: ErrorOptions & { readonly retryAfterSeconds?: number }) {
    super(detail, options); // `cause` is for the log only
    this.code = code;
    if (options?.retryAfterSeconds !== undefined) this.retryAfterSeconds = options.retryAfterSeconds;
  }

  get wire(): (typeof table)[ErrorCode] {
    return table[this.code];
  }
}

/** The error as a WayleaveError: anything unknown becomes `internal` with a constant detail, its cause kept for the log. */
export function asWayleaveError(error: unknown): WayleaveError {
  if (error instanceof WayleaveError) return error;
  return new WayleaveError("internal", "Something failed inside Wayleave; the log has the request id.", {
    cause: error,
  });
}
