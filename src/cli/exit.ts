import { asWayleaveError, type WayleaveError } from "../core/errors.ts";
import type { CommandIo } from "./command-io.ts";
import { labelled, painter, printable } from "./terminal.ts";

/** What each exit status of a command means, for `--help`. */
export const exitStatuses = [
  { status: 0, means: "done" },
  { status: 1, means: "a fault inside Wayleave" },
  { status: 2, means: "wrong usage or bad input" },
  { status: 3, means: "refused" },
  { status: 4, means: "not found" },
  { status: 5, means: "no answer: an outage, never a refusal" },
] as const;

/** Prints an error the way every command does, and gives its exit status: the CLI's one converter of errors. */
export function reportError(io: Pick<CommandIo, "env" | "stderr" | "stdout">, error: unknown, json = false): number {
  const known = asWayleaveError(error);
  const { http, exit } = known.wire;
  if (json) {
    const body = {
      type: "about:blank",
      title: known.code.replaceAll("_", " "),
      status: http,
      code: known.code,
      detail: known.message,
    };
    io.stdout.write(`${JSON.stringify(body)}\n`);
    return exit;
  }
  const paint = painter(io, io.stderr);
  const lines = [{ label: "why", text: printable(known.message) }];
  if (known.code === "internal" && known.cause instanceof Error) {
    lines[0] = { label: "why", text: "A fault inside Wayleave, not of yours. Please report it with the cause below." };
    lines.push({ label: "cause", text: printable(withoutSecrets(`${known.cause.name}: ${known.cause.message}`)) });
  }
  io.stderr.write(`wayleave: ${paint("red", word(known))}  ${known.code}\n${labelled(paint, lines)}`);
  return exit;
}

/** An unforeseen message may quote what it choked on: whatever could be a token or a key is cut out. */
function withoutSecrets(text: string): string {
  return text.replaceAll(/[A-Za-z0-9_+=.-]{24,}/g, "…");
}

function word(error: WayleaveError): string {
  if (error.wire.exit === 5) return "no answer";
  return error.wire.exit === 3 ? "refused" : "error";
}
