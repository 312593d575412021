import type { NatsClaims } from "./account-claims.ts";

/**
 * The operator: whose accounts nats-server takes, and which of them is the system account. Signed by the operator's own key.
 * Account JWTs are signed by that key or by one of `signingKeys` (`O…`).
 */
export function operatorClaims(operator: {
  /** `O…` */
  readonly key: string;
  readonly name: string;
  readonly signingKeys: readonly string[];
  /** `A…` */
  readonly systemAccount: string;
}): NatsClaims {
  const { key, name, signingKeys, systemAccount } = operator;
  const keys = signingKeys.length === 0 ? {} : { signing_keys: signingKeys };
  return {
    sub: key,
    name,
    nats: { ...keys, system_account: systemAccount, type: "operator" },
  };
}
