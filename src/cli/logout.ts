import { asWayleaveError, WayleaveError } from "../core/errors.ts";
import { type CliCommand, Input } from "./command.ts";
import { connectOperator } from "./operator.ts";

export const logout: CliCommand = {
  path: ["logout"],
  summary: "end your sign-in at a broker, and forget its key",
  details: [
    "The key is forgotten in any case. Where the broker does not answer, the sign-in itself is over in its time.",
  ],
  args: [{ spec: "[url]", doc: "the broker's URL (default: WAYLEAVE_URL, or the latest sign-in)" }],
  examples: ["logout", "logout https://wayleave.acme.example"],
  async run(io, input) {
    const { findSignIn, forgetSignIn } = await import("./sign-in-file.ts");
    const asked = input.args[0] ?? (io.env.WAYLEAVE_URL || undefined);
    const found = findSignIn(io, asked);
    if (found === undefined) {
      throw new WayleaveError(
        "sign_in_required",
        `Nobody is signed in${asked === undefined ? "" : ` to ${asked}`} here.`,
      );
    }
    const broker = found.brokerUrl;
    const unended = await end(io, broker).catch((error: unknown) => asWayleaveError(error));
    forgetSignIn(io, broker);
    if (unended === undefined || unended.code === "sign_in_required") {
      io.stdout.write(`signed out of ${broker}\n`);
      return 0;
    }
    io.stderr.write(`wayleave: the key is forgotten, and the broker was not told: ${unended.message}\n`);
    return unended.wire.exit;
  },
};

async function end(io: Parameters<CliCommand["run"]>[0], broker: string): Promise<undefined> {
  const operator = await connectOperator(io, new Input([], { broker }));
  try {
    await operator.post("/v1/sign-out", {});
  } finally {
    await operator.close();
  }
}
