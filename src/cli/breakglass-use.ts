import { resolve } from "node:path";
import { WayleaveError } from "../core/errors.ts";
import { approversOf, verifySignatures } from "../gateway/breakglass/signature.ts";
import { checkTime, tokenFingerprint, tokenOf } from "../gateway/breakglass/token.ts";
import { readRequestFile } from "./breakglass-files.ts";
import { requestText } from "./breakglass-show.ts";
import { type CliCommand, configOption } from "./command.ts";
import { loadWholeConfig } from "./load-config.ts";

export const breakglassUse: CliCommand = {
  path: ["breakglass", "use"],
  summary: "make the token of a request that two people signed",
  details: [
    "Checked here as at the gateways: the signatures against the people the configuration lists, and the time. Whoever has " +
      "the token can use it until its end, so it goes into a variable and not into a log.",
  ],
  args: [{ spec: "<file>", doc: "the signed request" }],
  options: [configOption],
  examples: ["breakglass use bg_7g2k.json"],
  async run(io, input) {
    const signed = readRequestFile(resolve(io.cwd, input.args[0] ?? ""));
    const { approvers, issuer } = await loadWholeConfig(io, input);
    verifySignatures(signed, approversOf(approvers));
    if (signed.request.broker !== issuer) {
      throw new WayleaveError(
        "breakglass_wrong_gateway",
        `It was signed for ${signed.request.broker}, not for ${issuer}.`,
      );
    }
    checkTime(signed.request, io.now());
    const token = tokenOf(signed);
    io.stderr.write(requestText(io, signed));
    io.stderr.write(`wayleave: every use is recorded, under ${tokenFingerprint(token)}\n`);
    io.stdout.write(`${token}\n`);
    return 0;
  },
};
