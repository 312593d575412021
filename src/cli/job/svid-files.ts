import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { WayleaveError } from "../../core/errors.ts";
import { parseSpiffeId } from "../../core/spiffe-id.ts";
import type { CommandIo } from "../command-io.ts";
import { pem } from "../pem.ts";
import { Broker } from "./broker.ts";
import { grantedX509 } from "./svid-broker.ts";
import { isSecure } from "./target-address.ts";
import { trustedCa } from "./trust.ts";

/** A gateway's certificate in files. */
export interface GatewayFiles {
  /** Makes a key, has it certified and writes all three files. Gives after how many ms that is due again. */
  renew(): Promise<number>;
  close(): Promise<void>;
}

export interface GatewayFilesOptions {
  readonly name: string;
  readonly secret: string;
  readonly out: string;
  /** The broker's public URL. */
  readonly url: string;
  readonly caFile: string | undefined;
}

/** Throws `invalid_request` for what was typed wrong; `renew` throws what the broker refuses with, and `broker_unreachable`. */
export function gatewayFiles(
  io: Pick<CommandIo, "env" | "cwd" | "now" | "stderr">,
  options: GatewayFilesOptions,
): GatewayFiles {
  const { name, secret } = options;
  const folder = resolve(io.cwd, options.out);
  const broker = new Broker({
    url: brokerUrl(options.url),
    ca: trustedCa(io, options.caFile),
    now: io.now,
    trace: randomBytes(16).toString("hex"),
  });
  return {
    async renew() {
      const { createSvidRequest } = await import("./svid-request.ts");
      const { csr, privateKey } = await createSvidRequest();
      const { spiffeId, certificates, bundles, expiresAt } = grantedX509(await broker.gatewaySvid(name, secret, csr));
      const lifeMs = expiresAt - io.now();
      if (!(lifeMs > 0)) {
        throw new WayleaveError(
          "broker_unreachable",
          "The certificate has expired already by this machine's clock. Set it.",
        );
      }
      const roots = bundles.get(parseSpiffeId(spiffeId)?.trustDomain ?? "") ?? [];
      writeAll(folder, [
        { name: "bundle.pem", text: pem("CERTIFICATE", roots), mode: 0o644 },
        { name: "svid.key", text: pem("PRIVATE KEY", [privateKey]), mode: 0o600 },
        { name: "svid.pem", text: pem("CERTIFICATE", certificates), mode: 0o644 },
      ]);
      io.stderr.write(`wayleave: ${spiffeId} in ${folder}  until ${new Date(expiresAt).toISOString()}\n`);
      return Math.max(1000, lifeMs / 2);
    },
    close: () => broker.close(),
  };
}

interface FileText {
  readonly name: string;
  readonly text: string;
  readonly mode: number;
}

/** All are written before the first takes its place: a full disk leaves what was there, whole. */
function writeAll(folder: string, files: readonly FileText[]): void {
  const mark = `.${randomBytes(6).toString("hex")}.tmp`;
  const next = ({ name }: FileText) => join(folder, name + mark);
  try {
    mkdirSync(folder, { recursive: true });
    for (const file of files) writeFileSync(next(file), file.text, { mode: file.mode, flag: "wx" });
    for (const file of files) renameSync(next(file), join(folder, file.name));
  } catch (cause) {
    for (const file of files) rmSync(next(file), { force: true });
    throw new WayleaveError(
      "invalid_request",
      `${folder} cannot be written (${(cause as NodeJS.ErrnoException).code}). Correct --out, or its permissions.`,
      { cause },
    );
  }
}

/** A gateway's secret from its file. Throws `invalid_request` for a file that holds none. */
export function readGatewaySecret(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8").trim();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `${path} cannot be read (${code}). Correct --secret-file.`, { cause });
  }
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new WayleaveError("invalid_request", `${path} holds no secret: it must be one line without spaces.`);
}

function brokerUrl(text: string): string {
  if (URL.canParse(text) && isSecure(new URL(text))) return text.replace(/\/+$/, "");
  throw new WayleaveError(
    "invalid_request",
    "The broker's address is unknown: give --url, or set WAYLEAVE_URL, to its https URL (http only on loopback).",
  );
}
