import type { KeyHolder, KeyRevocationResponse, KeySummary } from "../api/contract.ts";
import type { CliWord, Input } from "./command.ts";
import { labelled, type Paint, printable } from "./terminal.ts";

export const classArgument: CliWord = { spec: "<class>", doc: "access-token, assertion or jwt-svid" };
export const kidArgument: CliWord = { spec: "<kid>", doc: "which key: its kid, as `key list` shows it" };

/** `/v1/keys/<class>/<verb>`, or of one key `/v1/keys/<class>/<kid>/<verb>`. */
export function keyPath(input: Input, verb: string): string {
  return `/v1/keys/${[...input.args, verb].map(encodeURIComponent).join("/")}`;
}

/** `14:02:10 UTC`, with its day where that is not today. To the second, never early. */
export function clockTime(iso: string | undefined, nowMs: number): string {
  if (iso === undefined) return "";
  const text = new Date(Math.ceil(Date.parse(iso) / 1000) * 1000).toISOString();
  const today = text.slice(0, 10) === new Date(nowMs).toISOString().slice(0, 10);
  return `${today ? "" : `${text.slice(0, 10)} `}${text.slice(11, 19)} UTC`;
}

/** What became of a key, and what comes next, one line each. */
export function keyText(
  paint: Paint,
  key: KeySummary,
  lines: readonly { readonly label: string; readonly text: string }[],
  gateways: readonly KeyHolder[] = [],
): string {
  const head = `${key.class} key ${key.kid}  ${key.state}`;
  const held = gateways.map(({ gateway, kind, note }) => ({ label: "gateway", text: `${gateway} (${kind}) ${note}` }));
  const printed = [...lines, ...held].map(({ label, text }) => ({ label, text: printable(text) }));
  return `${paint("bold", printable(head))}\n${labelled(paint, printed)}`;
}

interface Line {
  readonly label: string;
  readonly text: string;
}

/** What becomes of the keys that signed before. */
export function retiringLines(keys: readonly KeySummary[], nowMs: number): readonly Line[] {
  return keys
    .filter(({ state }) => state === "retiring")
    .map(({ kid, last_token_expires_at }) => ({
      label: "before it",
      text: `${kid} retires by itself at ${clockTime(last_token_expires_at, nowMs)}`,
    }));
}

/** From when a revoked key is refused, and what signs instead. */
export function revocationLines(found: KeyRevocationResponse, nowMs: number): readonly Line[] {
  return [
    { label: "refused", text: refused(found, nowMs) },
    { label: "signing", text: signing(found, nowMs) },
  ];
}

function refused({ forgotten_at }: KeyRevocationResponse, nowMs: number): string {
  return `now, wherever Wayleave is asked; kept key sets forget it by ${clockTime(forgotten_at, nowMs)}`;
}

function signing({ key, signing: heir, signing_known_at }: KeyRevocationResponse, nowMs: number): string {
  if (heir === undefined)
    return `no ${key.class} key: none could be made yet, so nothing is minted; see the broker's log`;
  const known =
    Date.parse(signing_known_at ?? "") <= nowMs ? "" : `, known to them by ${clockTime(signing_known_at, nowMs)}`;
  return `${heir.kid}${known}`;
}
