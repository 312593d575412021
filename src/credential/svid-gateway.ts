import { generateKeyPairSync } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Recorder } from "../core/record.ts";
import { gatewaySpiffeId } from "../core/spiffe-id.ts";
import { toPem } from "./ca-authority.ts";
import type { SignX509, X509Request, X509Svid } from "./svid-x509.ts";

/** An SVID with its key, as Envoy and others read files. */
export interface GatewaySecret {
  readonly spiffeId: string;
  /** Leaf first, without the root. */
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  /** Roots of this trust domain. */
  readonly bundlePem: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

export interface GatewaySvids {
  /** For a gateway that proved itself and made its own key. Throws `csr_invalid`, with a `svid.refused` record. */
  fromCsr(gateway: string, csr: Uint8Array): Promise<X509Svid>;
  /** With a key made here, for a gateway that is served its secrets. */
  withKey(gateway: string): Promise<GatewaySecret>;
}

const lifeMs = 3_600_000;

/**
 * SVIDs of the gateways of the inventory: `spiffe://<trust domain>/gateway/<name>` and the DNS name `<name>`, for an hour. Not
 * checked here: that it is the gateway that asks, and that there is one of this name.
 */
export function createGatewaySvids(deps: {
  readonly trustDomain: string;
  readonly sign: SignX509;
  readonly recorder: Pick<Recorder, "append" | "note">;
  readonly clock: Pick<Clock, "now">;
  roots(): readonly Uint8Array[];
}): GatewaySvids {
  const mint = async (gateway: string, from: X509Request["from"]): Promise<X509Svid> => {
    const name = { spiffeId: gatewaySpiffeId(deps.trustDomain, gateway), dnsName: gateway };
    const svid = await deps.sign({ name, from, until: deps.clock.now() + lifeMs });
    const { spiffeId: spiffe_id, serial, signer, expiresAt: expires_at } = svid;
    await deps.recorder.append([
      { kind: "svid.minted", data: { type: "x509", spiffe_id, serial, gateway, signer, expires_at } },
    ]);
    return svid;
  };
  return {
    async fromCsr(gateway, csr) {
      try {
        return await mint(gateway, { csr });
      } catch (error) {
        if (error instanceof WayleaveError && error.code === "csr_invalid")
          deps.recorder.note({ kind: "svid.refused", data: { code: error.code, detail: error.message, gateway } });
        throw error;
      }
    },
    async withKey(gateway) {
      const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const svid = await mint(gateway, { publicKey: publicKey.export({ format: "der", type: "spki" }) });
      return {
        spiffeId: svid.spiffeId,
        certificateChainPem: toPem(svid.certificates),
        privateKeyPem: privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
        bundlePem: toPem(deps.roots()),
        expiresAt: svid.expiresAt,
      };
    },
  };
}
