import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { WayleaveError } from "../../core/errors.ts";
import { type BreakglassRequest, malformed, type SignedRequest, signedBytes } from "./request.ts";

/** Somebody who may approve: a name, and the public key as one line of base64 (SPKI, RFC 5280). */
export interface Approver {
  readonly name: string;
  readonly publicKey: string;
}

/** Approvers whose keys were read. */
export type Approvers = ReadonlyMap<string, KeyObject>;

/** Ed25519 or P-256: both sign in 64 bytes. Throws `config_invalid` for anything else, and never says what was given. */
function publicKeyOf(base64: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(base64, "base64"), format: "der", type: "spki" });
  } catch {
    throw unusableList("a public key is not what wayleave breakglass key printed");
  }
  if (!usable(key)) throw unusableList("a public key is not of Ed25519 or P-256");
  return key;
}

/** Throws `config_invalid` for a key that cannot be read, and where two names have one key: two people are two keys. */
export function approversOf(list: readonly Approver[]): Approvers {
  const known = new Map<string, KeyObject>();
  for (const { name, publicKey } of list) {
    const key = publicKeyOf(publicKey);
    if (known.has(name)) throw unusableList(`${name} is listed twice`);
    const twin = [...known].find(([, other]) => other.equals(key));
    if (twin !== undefined) throw unusableList(`${twin[0]} and ${name} have one key, and two people have two`);
    known.set(name, key);
  }
  return known;
}

export const publicText = (key: KeyObject): string => key.export({ format: "der", type: "spki" }).toString("base64");

/** The same request with one more signature. Throws where that person signed it already. Not checked: whether they are listed. */
export function addSignature(
  signed: SignedRequest,
  { by, key }: { readonly by: string; readonly key: KeyObject },
): SignedRequest {
  if (signed.signatures.some((one) => one.by === by)) throw sameSigner(by);
  const signature = sign(digest(key), signedBytes(signed.request), { key, dsaEncoding: "ieee-p1363" });
  const signatures = [...signed.signatures, { by, signature: signature.toString("base64url") }];
  return { request: signed.request, signatures: signatures.sort((a, b) => (a.by < b.by ? -1 : 1)) };
}

/** A private key of a PEM file. Throws `breakglass_signature_invalid`, without a word of the file. */
export function privateKeyOf(pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (usable(createPublicKey(key))) return key;
  } catch {
    // said below: the cause could quote the file
  }
  throw new WayleaveError(
    "breakglass_signature_invalid",
    "The key file holds no Ed25519 or P-256 private key; make one with wayleave breakglass key.",
  );
}

/** Who signed: two listed people at least, each with their own key, over exactly this request. */
export function verifySignatures({ request, signatures }: SignedRequest, approvers: Approvers): readonly string[] {
  const people = new Set<string>();
  for (const { by, signature } of signatures) {
    const key = approvers.get(by);
    if (key === undefined) throw unlisted(by);
    if (people.has(by)) throw sameSigner(by);
    if (!signatureHolds(request, key, signature)) {
      throw new WayleaveError(
        "breakglass_signature_invalid",
        `The signature of ${by} is not of this request: it was changed after it was signed, or signed with another key.`,
      );
    }
    people.add(by);
  }
  if (people.size < 2) {
    throw new WayleaveError(
      "breakglass_unsigned",
      `Break-glass needs two people, and ${people.size === 0 ? "nobody" : "one person"} has signed; ask another with wayleave breakglass sign.`,
    );
  }
  return [...people];
}

function signatureHolds(request: BreakglassRequest, key: KeyObject, signature: string): boolean {
  const bytes = Buffer.from(signature, "base64url");
  if (bytes.toString("base64url") !== signature) throw malformed("a signature is not base64url");
  return verify(digest(key), signedBytes(request), { key, dsaEncoding: "ieee-p1363" }, bytes);
}

function usable({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  if (asymmetricKeyType === "ed25519") return true;
  return asymmetricKeyType === "ec" && asymmetricKeyDetails?.namedCurve === "prime256v1";
}

const digest = ({ asymmetricKeyType }: KeyObject): string | null => (asymmetricKeyType === "ed25519" ? null : "sha256");

function unlisted(by: string): WayleaveError {
  return new WayleaveError("breakglass_unlisted", `${by} is not listed under breakglass.approvers of this gateway.`);
}

function sameSigner(by: string): WayleaveError {
  return new WayleaveError("breakglass_same_signer", `${by} has signed already; the second signature is another's.`);
}

function unusableList(why: string): WayleaveError {
  return new WayleaveError("config_invalid", `Under breakglass.approvers, ${why}. Correct the list.`);
}
