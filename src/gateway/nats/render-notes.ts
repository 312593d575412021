import type { OperationModel } from "../../policy/model.ts";
import { isTemplate } from "../../policy/parse-template.ts";
import { accountsFile, trustFile } from "./render-files.ts";
import { isLoopback } from "./render-whole.ts";
import { leastServerVersion } from "./server-version.ts";
import { accountOf, at, type CheckedSettings, systemAccountName } from "./settings.ts";

/** What the reader must know and cannot see in the files: one sentence or two, under a code that stays. */
export interface RenderNote {
  readonly code: NoteCode;
  readonly text: string;
}

export type NoteCode =
  | "direct_mode"
  | "fragments_include"
  | "no_auth_user"
  | "config_mode"
  | "server_version"
  | "plain_servers"
  | "certificate_missing"
  | "account_by_template"
  | "target_observed"
  | "target_not_fronted"
  | "stream_needed";

/** Notes on the gateway, then on each target, in the order of their names. */
export function renderNotes(settings: CheckedSettings): readonly RenderNote[] {
  return [
    ...modeNotes(settings),
    ...networkNotes(settings),
    ...settings.targets.flatMap((target): RenderNote[] => [
      ...(isTemplate(accountOf(target))
        ? [
            note(
              "account_by_template",
              `target ${target.name} (${at(target)}) is in account ${accountOf(target)}: each one is pushed to the servers when the first of its jobs connects.`,
            ),
          ]
        : []),
      ...(target.mode === "observe"
        ? [
            note(
              "target_observed",
              `target ${target.name} (${at(target)}) is observed: what policy denies is recorded and let through.`,
            ),
          ]
        : []),
    ]),
    ...streamNotes(settings),
    ...settings.unfronted.map((target) =>
      note(
        "target_not_fronted",
        `target ${target.name} (${at(target)}) is fronted by no NATS gateway: no job can reach it. Add it to a gateway's targets.`,
      ),
    ),
  ];
}

function modeNotes({ direct, fragments, authentication }: CheckedSettings): RenderNote[] {
  return [
    ...(direct
      ? [
          note(
            "direct_mode",
            "direct: true is authentication WITHOUT message audit: jobs may connect to the servers themselves, and nothing records what they publish and receive there. Say direct: false for jobs to go through the gateway only.",
          ),
        ]
      : []),
    ...(fragments ? fragmentNotes(authentication) : []),
    ...(authentication === "config"
      ? [
          note(
            "config_mode",
            "In config mode every reload of a server, even of an unchanged file, disconnects all jobs, and a new account needs one. Operator mode has neither trouble.",
          ),
        ]
      : []),
    note(
      "server_version",
      `Every server must be nats-server ${leastServerVersion} or newer; the gateway refuses older ones.`,
    ),
  ];
}

function fragmentNotes(authentication: "operator" | "config"): RenderNote[] {
  const within = `include ${accountsFile} within accounts { }, and ${trustFile} at the top level`;
  return [
    note(
      "fragments_include",
      authentication === "config"
        ? `In the server's configuration, ${within}; it may have no authorization, system_account and proxies of its own. Administrators of it belong in ${systemAccountName}.`
        : `In the server's configuration, include ${trustFile} at the top level; it may have no operator, accounts, authorization, resolver and proxies of its own.`,
    ),
    note(
      "no_auth_user",
      "It may not say no_auth_user: whoever brings no credential would be let in as that user, and nobody would be asked. Leaf nodes, MQTT and WebSocket listeners let clients past the gateway's records; leave them off.",
    ),
  ];
}

function networkNotes({ servers, certificate, fragments }: CheckedSettings): RenderNote[] {
  const plain = servers.filter(({ host, tls }) => !tls && !isLoopback(host));
  return [
    ...(plain.length > 0
      ? [
          note(
            "plain_servers",
            `${plain.map(({ host, port }) => `${host}:${port}`).join(", ")} can be reached over the network without TLS: messages can be read and changed on the way. Say tls:// under servers.`,
          ),
        ]
      : []),
    ...(certificate === undefined && !fragments && servers.some(({ tls }) => tls)
      ? [
          note(
            "certificate_missing",
            "servers says tls://, and the rendered configuration has no certificate: render with --tls-cert and --tls-key.",
          ),
        ]
      : []),
  ];
}

/** Streams and consumers that policy counts on. Wayleave makes none: a job that could would widen its rights. */
function streamNotes({ policy, targets }: CheckedSettings): RenderNote[] {
  const needed = policy.roles.flatMap(({ allow }) =>
    targets.flatMap((target) => (allow[target.name] ?? []).flatMap((operation) => pulls(operation, accountOf(target)))),
  );
  const once = new Map(needed.map((each) => [each.text, each]));
  return [...once.values()].toSorted((a, b) => (a.text < b.text ? -1 : 1));
}

function pulls(operation: OperationModel, account: string): RenderNote[] {
  if (operation.kind !== "nats" || operation.pattern.verb !== "pull") return [];
  const { source } = operation.pattern;
  const { file, line } = operation.place;
  return [
    note(
      "stream_needed",
      `Account ${account} needs the stream and durable pull consumer of \`${source}\` (${file}:${line}); Wayleave makes none.`,
    ),
  ];
}

function note(code: NoteCode, text: string): RenderNote {
  return { code, text };
}
