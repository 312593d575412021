/** Where `jwt_authn` leaves what it verified, and what everything after it in the rendered chain reads. */
export const tokenMetadata = {
  /** The namespace is the filter's own. */
  namespace: "envoy.filters.http.jwt_authn",
  /** Claims. */
  payload: "wayleave",
  /** JOSE header: what the signature was checked by, unlike a claim of the same name. */
  header: "wayleave_header",
} as const;

/** Headers that `jwt_authn` makes of claims: any copy of the client's is gone before. */
export const claimHeaders = {
  subject: "x-wayleave-subject",
  session: "x-wayleave-session",
  job: "x-wayleave-job",
  /** For the refusals alone; it does not go upstream. */
  token: "x-wayleave-token-id",
} as const;
