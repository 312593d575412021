import type { CliCommand } from "./command.ts";

/**
 * Every command, in the order help lists them: what is typed, and where it is read from when it is typed, so that one
 * command does not wait for the code of all. Adding one is a file and a line here.
 */
const table: readonly (readonly [words: string, load: () => Promise<CliCommand>])[] = [
  ["init", async () => (await import("./init.ts")).init],
  ["serve", async () => (await import("./serve.ts")).serve],
  ["demo", async () => (await import("./demo.ts")).demo],
  ["exec", async () => (await import("./exec.ts")).exec],
  ["token", async () => (await import("./token.ts")).token],
  ["nats env", async () => (await import("./nats-env.ts")).natsEnv],
  ["nats creds", async () => (await import("./nats-creds.ts")).natsCreds],
  ["emit", async () => (await import("./emit.ts")).emit],
  ["end", async () => (await import("./end.ts")).end],
  ["explain", async () => (await import("./explain.ts")).explain],
  ["verify", async () => (await import("./verify.ts")).verify],
  ["doctor", async () => (await import("./doctor.ts")).doctor],
  ["login", async () => (await import("./login.ts")).login],
  ["logout", async () => (await import("./logout.ts")).logout],
  ["whoami", async () => (await import("./whoami.ts")).whoami],
  ["people list", async () => (await import("./people-list.ts")).peopleList],
  ["people end", async () => (await import("./people-end.ts")).peopleEnd],
  ["policy check", async () => (await import("./policy-check.ts")).policyCheck],
  ["policy test", async () => (await import("./policy-test.ts")).policyTest],
  ["policy can", async () => (await import("./policy-can.ts")).policyCan],
  ["policy explain", async () => (await import("./policy-explain.ts")).policyExplain],
  ["policy diff", async () => (await import("./policy-diff.ts")).policyDiff],
  ["policy lock", async () => (await import("./policy-lock.ts")).policyLock],
  ["policy lsp", async () => (await import("./policy-lsp.ts")).policyLsp],
  ["policy replay", async () => (await import("./policy-replay.ts")).policyReplay],
  ["policy coverage", async () => (await import("./policy-coverage.ts")).policyCoverage],
  ["policy status", async () => (await import("./policy-status.ts")).policyStatus],
  ["policy list", async () => (await import("./policy-list.ts")).policyList],
  ["policy candidate", async () => (await import("./policy-candidate.ts")).policyCandidate],
  ["policy canary", async () => (await import("./policy-canary.ts")).policyCanary],
  ["policy promote", async () => (await import("./policy-promote.ts")).policyPromote],
  ["policy rollback", async () => (await import("./policy-rollback.ts")).policyRollback],
  ["config check", async () => (await import("./config-check.ts")).configCheck],
  ["config schema", async () => (await import("./config-schema.ts")).configSchema],
  ["render nginx", async () => (await import("./render-nginx.ts")).renderNginxCommand],
  ["render envoy", async () => (await import("./render-envoy.ts")).renderEnvoyCommand],
  ["render kubernetes", async () => (await import("./render-kubernetes.ts")).renderKubernetesCommand],
  ["render istio", async () => (await import("./render-istio.ts")).renderIstioCommand],
  ["render linkerd", async () => (await import("./render-linkerd.ts")).renderLinkerdCommand],
  ["render nats", async () => (await import("./render-nats.ts")).renderNatsCommand],
  ["nats admin", async () => (await import("./nats-admin.ts")).natsAdmin],
  ["nats-gateway", async () => (await import("./nats-gateway.ts")).natsGateway],
  ["gateway list", async () => (await import("./gateway-list.ts")).gatewayList],
  ["gateway follow", async () => (await import("./gateway-follow.ts")).gatewayFollow],
  ["session list", async () => (await import("./session-list.ts")).sessionList],
  ["session show", async () => (await import("./session-show.ts")).sessionShow],
  ["session end", async () => (await import("./session-end.ts")).sessionEnd],
  ["key list", async () => (await import("./key-list.ts")).keyList],
  ["key prepare", async () => (await import("./key-prepare.ts")).keyPrepare],
  ["key activate", async () => (await import("./key-activate.ts")).keyActivate],
  ["key retire", async () => (await import("./key-retire.ts")).keyRetire],
  ["key revoke", async () => (await import("./key-revoke.ts")).keyRevoke],
  ["key rotate", async () => (await import("./key-rotate.ts")).keyRotate],
  ["breakglass key", async () => (await import("./breakglass-key.ts")).breakglassKey],
  ["breakglass request", async () => (await import("./breakglass-request.ts")).breakglassRequest],
  ["breakglass sign", async () => (await import("./breakglass-sign.ts")).breakglassSign],
  ["breakglass use", async () => (await import("./breakglass-use.ts")).breakglassUse],
  ["breakglass serve", async () => (await import("./breakglass-serve.ts")).breakglassServe],
  ["svid fetch", async () => (await import("./svid-fetch.ts")).svidFetch],
  ["svid show", async () => (await import("./svid-show.ts")).svidShow],
  ["events list", async () => (await import("./events-list.ts")).eventsList],
  ["events retry", async () => (await import("./events-retry.ts")).eventsRetry],
  ["audit list", async () => (await import("./audit-list.ts")).auditList],
  ["audit tail", async () => (await import("./audit-tail.ts")).auditTail],
  ["audit show", async () => (await import("./audit-show.ts")).auditShow],
];

/** All of them. */
export const allCommands = (): Promise<readonly CliCommand[]> => load(table);

/** Those that a command line may mean: one, or a noun's, or where neither is typed, all; none where only the version is asked. */
export function commandsFor([first = "", second = ""]: readonly string[]): Promise<readonly CliCommand[]> {
  if (first === "--version") return load([]);
  const exact = table.filter(([words]) => words === first || words === `${first} ${second}`);
  if (exact.length > 0) return load(exact);
  const noun = table.filter(([words]) => words.startsWith(`${first} `));
  return load(noun.length > 0 ? noun : table);
}

const load = (rows: typeof table) => Promise.all(rows.map(([, read]) => read()));

/** What the nouns are about. */
export const nouns: Readonly<Record<string, string>> = {
  policy: "check, test and question a policy; try, promote and roll one back",
  config: "check the configuration",
  render: "write a gateway's own configuration",
  people: "see who is signed in as an operator, and end a sign-in",
  gateway: "see what each gateway enforces, and follow its log",
  session: "look at sessions, and end them",
  key: "rotate and revoke the keys that sign",
  breakglass: "open targets by two people's signatures while the broker is away",
  svid: "get and look up certificates of the trust domain",
  nats: "get what a job connects to NATS with",
  events: "messages that wait to start a pipeline, and those that could not",
  audit: "read the audit log",
};
