/**
 * How a job proves its AWS principal without an OIDC token: it signs `sts:GetCallerIdentity` and hands the signature over.
 * The text is `aws4.` and the base64url of a JSON object with these members, and nothing else is the job's to choose: the
 * broker writes method, path, body and the other headers itself, so that a signature over anything else is refused.
 */
export interface AwsProof {
  /** Address of STS as the job signed it: `https://sts.eu-central-1.amazonaws.com`. */
  readonly endpoint: string;
  /** The `Authorization` header of AWS Signature Version 4. */
  readonly authorization: string;
  /** The `X-Amz-Date` header. */
  readonly date: string;
  /** Random, so that two jobs which sign in the same second with the same credentials make two signatures. */
  readonly nonce: string;
  /** The `X-Amz-Security-Token` header, with temporary credentials. */
  readonly token?: string;
}

export const awsProofPrefix = "aws4.";
export const awsProofType = "urn:wayleave:params:oauth:token-type:aws-get-caller-identity";

/** Signed, so that a signature made for another broker is worth nothing here. */
export const awsAudienceHeader = "x-wayleave-audience";
export const awsNonceHeader = "x-wayleave-nonce";
export const awsProofBody = "Action=GetCallerIdentity&Version=2011-06-15";
export const awsProofContentType = "application/x-www-form-urlencoded; charset=utf-8";
