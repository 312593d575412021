import { accountsFile, trustFile, wholeFile } from "./render-files.ts";
import { type RenderNote, renderNotes } from "./render-notes.ts";
import { renderAccounts, renderTrust } from "./render-trust.ts";
import { renderWhole } from "./render-whole.ts";
import { type ConfEntry, printConf } from "./server-conf.ts";
import {
  authAccountName,
  type CheckedSettings,
  checkSettings,
  type RenderInput,
  systemAccountName,
} from "./settings.ts";

export interface RenderedFile {
  /** A name in the folder that the server's configuration lies in. */
  readonly path: string;
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
}

export interface RenderedNats {
  readonly files: readonly RenderedFile[];
  readonly notes: readonly RenderNote[];
}

/**
 * The files that make nats-servers ask Wayleave about every client, and take none that came past the gateway. Pure: the
 * same input, in any order, gives the same bytes. No private key is in them: in operator mode a server holds none, in config
 * mode only public nkeys. Accounts and their signing keys are pushed to running servers, so a rotated signing key changes
 * `account-*.jwt` and nothing that a server reads. Not checked: whether the paths exist, and the configuration around the
 * fragments (`render --fragments` says in its notes what must hold). Throws `render_refused`, with file and line.
 */
export function renderNats(input: RenderInput): RenderedNats {
  const settings = checkSettings(input);
  const head = { comment: `Wayleave for gateway ${settings.name}. Rendered; do not edit.` };
  const conf = (path: string, entries: readonly ConfEntry[]): RenderedFile => ({
    path,
    text: printConf([head, ...entries]),
    mode: 0o644,
  });
  return {
    files: [
      conf(trustFile, renderTrust(settings)),
      ...(settings.authentication === "config"
        ? [conf(accountsFile, renderAccounts(settings))]
        : accountJwts(settings)),
      ...(settings.fragments ? [] : [conf(wholeFile, renderWhole(settings))]),
    ],
    notes: renderNotes(settings),
  };
}

/** What the broker pushes, to look at, or for a resolver of one's own. */
function accountJwts({ trust, accounts }: CheckedSettings): RenderedFile[] {
  const all: readonly (readonly [string, string])[] = [
    [authAccountName, trust.jwts.auth],
    [systemAccountName, trust.jwts.system],
    ...accounts.map((name) => [name, trust.account(name).jwt] as const),
  ];
  return all.map(([name, jwt]) => ({ path: `account-${name}.jwt`, text: `${jwt}\n`, mode: 0o644 }));
}
