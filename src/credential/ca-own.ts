import { createHash, X509Certificate } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import { trustDomainId } from "../core/spiffe-id.ts";
import { type CertificateAuthority, type SigningCa, validityOf } from "./ca-authority.ts";
import type { CaFile, StoredCa } from "./ca-file.ts";
import type { IssuerMaterial, Validity } from "./ca-protocol.ts";
import type { CaSigner } from "./ca-signer.ts";
import { readDer } from "./svid-der.ts";

export interface OwnCaOptions {
  readonly trustDomain: string;
  readonly file: CaFile;
  readonly signer: CaSigner;
  readonly recorder: Pick<Recorder, "append">;
  readonly clock: Pick<Clock, "now">;
  random(bytes: number): Uint8Array;
}

const dayMs = 86_400_000;
const rootLifeMs = 3650 * dayMs;
const intermediateLifeMs = 30 * dayMs;
/** A new root signs only once everybody who follows the bundle has had it: far more than five refreshes of it. */
const rootPublishMs = 7 * dayMs;
/** The next root is made when this is left of the last one, so that intermediates never run into its end. */
const rootRenewMs = 730 * dayMs;
const backdateMs = 60_000;

/** A CA certificate in use, with what is read from it once. */
interface Ca {
  readonly stored: StoredCa;
  readonly certificate: X509Certificate;
  readonly keyId: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * The trust domain's own CA: a P-256 root for ten years and intermediates for thirty days, the next one made at half of
 * that. Chains carry their intermediate, so it needs no publishing; a next root is in the bundle a week before it signs.
 * What is made is kept and recorded (`ca.created`) before it signs. Throws `key_unavailable`, and `config_invalid` where
 * the CA on disk is of another trust domain.
 */
export async function openOwnCa(options: OwnCaOptions): Promise<CertificateAuthority> {
  const stored = await options.file.read();
  // A crash may have left a root in its own file only.
  const roots = stored?.roots ?? (await options.file.readRoots()) ?? [];
  const own = new OwnCa(options);
  await own.begin(
    roots.map(({ certificate, recorded }) => ({ certificate, recorded })),
    stored?.intermediates ?? [],
  );
  return own;
}

class OwnCa implements CertificateAuthority {
  readonly #options: OwnCaOptions;
  readonly #listeners = new Set<() => void>();
  #roots: readonly Ca[] = [];
  #intermediates: readonly Ca[] = [];
  #fault: string | undefined;
  #sweeping: Promise<void> | undefined;

  constructor(options: OwnCaOptions) {
    this.#options = options;
  }

  async begin(roots: readonly StoredCa[], intermediates: readonly StoredCa[]): Promise<void> {
    this.#roots = roots.map(load);
    this.#intermediates = intermediates.map(load);
    const name = `URI:${trustDomainId(this.#options.trustDomain)}`;
    if (this.#roots.some(({ certificate }) => certificate.subjectAltName !== name)) {
      throw new WayleaveError(
        "config_invalid",
        `The CA in the data folder is of another trust domain than ${this.#options.trustDomain}; a trust domain is never renamed: take another data folder.`,
      );
    }
    await this.#recordAll();
    await this.#renew();
  }

  signing(): SigningCa {
    const now = this.#now();
    const found = this.#intermediates.filter((ca) => ca.stored.recorded && validAt(ca, now)).toSorted(newestFirst)[0];
    const root = found && this.#rootOf(found);
    if (found === undefined || root === undefined || !validAt(root, now)) {
      throw new WayleaveError(
        "key_unavailable",
        `No intermediate CA is valid now${this.#fault === undefined ? "" : ` (${this.#fault})`}; check the clock, and that ca-root.jwe is in the data folder's keys.`,
      );
    }
    return {
      issuer: material(found),
      chain: [found.stored.certificate],
      notBefore: Math.max(found.notBefore, root.notBefore),
      notAfter: Math.min(found.notAfter, root.notAfter),
    };
  }

  roots(): readonly Uint8Array[] {
    const now = this.#now();
    return this.#roots
      .filter(({ stored, notAfter }) => stored.recorded && notAfter > now)
      .map(({ stored }) => stored.certificate);
  }

  sweep(): Promise<void> {
    this.#sweeping ??= this.#renew().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  warnings(): readonly string[] {
    if (this.#fault === undefined) return [];
    const until = Math.max(0, ...this.#intermediates.map(({ notAfter }) => notAfter));
    return [`no new intermediate CA can be made (${this.#fault}); the last one ends ${new Date(until).toISOString()}`];
  }

  /** Makes what is due. What fails is said in `warnings` and tried again; what there is goes on signing. */
  async #renew(): Promise<void> {
    try {
      await this.#recordAll();
      await this.#renewRoot();
      await this.#renewIntermediate();
      this.#fault = undefined;
    } catch (error) {
      this.#fault = error instanceof WayleaveError ? error.message.replace(/\.$/, "") : "a fault inside";
      const now = this.#now();
      if (!this.#intermediates.some((ca) => ca.stored.recorded && validAt(ca, now))) throw error;
    }
  }

  async #renewRoot(): Promise<void> {
    const now = this.#now();
    const newest = this.#roots.toSorted(newestFirst)[0];
    if (newest !== undefined && newest.notAfter - now > rootRenewMs) return;
    const { trustDomain, signer, file } = this.#options;
    const kept = await file.readRoots();
    if (newest !== undefined && kept === undefined) throw offline(); // it would be lost when the old file comes back
    const { certificate, privateKey } = await signer.ask("root", { trustDomain, validity: this.#validity(rootLifeMs) });
    await file.writeRoots([...(kept ?? []), { certificate, privateKey, recorded: false }]);
    await this.#add("root", { certificate, recorded: false });
    for (const listener of this.#listeners) listener();
  }

  async #renewIntermediate(): Promise<void> {
    const now = this.#now();
    const newest = this.#intermediates.filter((ca) => this.#rootOf(ca) !== undefined).toSorted(newestFirst)[0];
    if (newest !== undefined && now < (newest.notBefore + newest.notAfter) / 2) return;
    const usable = this.#roots.filter((root) => validAt(root, now)).toSorted(newestFirst);
    const root = usable.find(({ notBefore }) => notBefore + rootPublishMs <= now) ?? usable.at(-1);
    const key = root && (await this.#rootKey(root));
    if (root === undefined || key === undefined) throw offline();
    const { trustDomain, signer } = this.#options;
    const { certificate } = root.stored;
    const made = await signer.ask("intermediate", {
      trustDomain,
      root: { certificate, privateKey: key, keyId: root.keyId },
      validity: this.#validity(Math.min(intermediateLifeMs, root.notAfter - now)),
    });
    await this.#add("intermediate", { ...made, recorded: false });
  }

  async #rootKey({ stored }: Ca): Promise<Uint8Array | undefined> {
    const kept = (await this.#options.file.readRoots()) ?? [];
    return kept.find(({ certificate }) => Buffer.compare(certificate, stored.certificate) === 0)?.privateKey;
  }

  /** Kept first, then recorded, then used: a crash in between leaves a certificate that is recorded at the next start. */
  async #add(level: Level, made: StoredCa): Promise<void> {
    const fresh = load(made);
    const now = this.#now();
    const living = (cas: readonly Ca[]) => cas.filter(({ notAfter }) => notAfter > now);
    this.#roots = level === "root" ? [...living(this.#roots), fresh] : living(this.#roots);
    this.#intermediates = level === "root" ? this.#intermediates : [...living(this.#intermediates), fresh];
    await this.#save();
    await this.#recordAll();
  }

  async #recordAll(): Promise<void> {
    const due = [
      ...this.#roots.filter(unrecorded).map((ca) => created("root", ca)),
      ...this.#intermediates.filter(unrecorded).map((ca) => created("intermediate", ca)),
    ];
    if (due.length === 0) return;
    await this.#options.recorder.append(due);
    const recorded = (ca: Ca): Ca => ({ ...ca, stored: { ...ca.stored, recorded: true } });
    this.#roots = this.#roots.map(recorded);
    this.#intermediates = this.#intermediates.map(recorded);
    await this.#save();
  }

  async #save(): Promise<void> {
    const stored = (cas: readonly Ca[]) => cas.map((ca) => ca.stored);
    await this.#options.file.write({ roots: stored(this.#roots), intermediates: stored(this.#intermediates) });
  }

  /** The root an intermediate was signed by, as long as it is known. */
  #rootOf({ certificate }: Ca): Ca | undefined {
    return this.#roots.find((root) => certificate.checkIssued(root.certificate));
  }

  #validity(lifeMs: number): Validity {
    const now = this.#now();
    return {
      serial: newSerial(this.#options.random),
      notBefore: wholeSeconds(now - backdateMs),
      notAfter: wholeSeconds(now + lifeMs),
    };
  }

  #now(): number {
    return this.#options.clock.now();
  }
}

type Level = "root" | "intermediate";

const validAt = ({ notBefore, notAfter }: Ca, now: number) => notBefore <= now && now < notAfter;
const newestFirst = (a: Ca, b: Ca) => b.notBefore - a.notBefore;
const unrecorded = ({ stored }: Ca) => !stored.recorded;

/** Without the CA's thread, which starts with the first certificate that is wanted. */
function load(stored: StoredCa): Ca {
  try {
    const certificate = new X509Certificate(Buffer.from(stored.certificate));
    const [, key] = readDer(certificate.publicKey.export({ format: "der", type: "spki" })).parts;
    // As our certificates have it: method 1 of RFC 5280 §4.2.1.2.
    const keyId = createHash("sha1")
      .update(key?.content.subarray(1) ?? "")
      .digest("hex");
    return { stored, certificate, keyId, ...validityOf(stored.certificate) };
  } catch (cause) {
    throw new WayleaveError("key_unavailable", "The CA file holds a certificate that cannot be used; restore it.", {
      cause,
    });
  }
}

function material({ stored: { certificate, privateKey }, keyId }: Ca): IssuerMaterial {
  if (privateKey !== undefined) return { certificate, privateKey, keyId };
  throw new WayleaveError("key_unavailable", "The CA file lacks the key of an intermediate; restore it from a backup.");
}

function created(level: Level, { certificate, keyId, notAfter }: Ca): AuditEvent {
  const serial = certificate.serialNumber.toLowerCase();
  return { kind: "ca.created", data: { level, serial, key_id: keyId, expires_at: notAfter } };
}

function offline(): WayleaveError {
  return new WayleaveError(
    "key_unavailable",
    "The root's key is not here; put ca-root.jwe back into the data folder's keys, and take it away again afterwards.",
  );
}

/** Sixteen random bytes, positive and of full length, so that its hex is written in one way only. @see RFC 5280 §4.1.2.2 */
export function newSerial(random: (bytes: number) => Uint8Array): string {
  const bytes = Uint8Array.from(random(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}

/** Certificates know whole seconds: rounded down, a time is never later than it was. */
export function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}
