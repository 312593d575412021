import { auditList } from "./audit-list.ts";
import { auditShow } from "./audit-show.ts";
import { auditTail } from "./audit-tail.ts";
import { breakglassKey } from "./breakglass-key.ts";
import { breakglassRequest } from "./breakglass-request.ts";
import { breakglassServe } from "./breakglass-serve.ts";
import { breakglassSign } from "./breakglass-sign.ts";
import { breakglassUse } from "./breakglass-use.ts";
import type { CliCommand } from "./command.ts";
import { configCheck } from "./config-check.ts";
import { configSchema } from "./config-schema.ts";
import { demo } from "./demo.ts";
import { doctor } from "./doctor.ts";
import { emit } from "./emit.ts";
import { end } from "./end.ts";
import { eventsList } from "./events-list.ts";
import { eventsRetry } from "./events-retry.ts";
import { exec } from "./exec.ts";
import { explain } from "./explain.ts";
import { gatewayFollow } from "./gateway-follow.ts";
import { gatewayList } from "./gateway-list.ts";
import { init } from "./init.ts";
import { keyActivate } from "./key-activate.ts";
import { keyList } from "./key-list.ts";
import { keyPrepare } from "./key-prepare.ts";
import { keyRetire } from "./key-retire.ts";
import { keyRevoke } from "./key-revoke.ts";
import { keyRotate } from "./key-rotate.ts";
import { login } from "./login.ts";
import { logout } from "./logout.ts";
import { natsAdmin } from "./nats-admin.ts";
import { natsCreds } from "./nats-creds.ts";
import { natsEnv } from "./nats-env.ts";
import { natsGateway } from "./nats-gateway.ts";
import { peopleEnd } from "./people-end.ts";
import { peopleList } from "./people-list.ts";
import { policyCan } from "./policy-can.ts";
import { policyCanary } from "./policy-canary.ts";
import { policyCandidate } from "./policy-candidate.ts";
import { policyCheck } from "./policy-check.ts";
import { policyCoverage } from "./policy-coverage.ts";
import { policyDiff } from "./policy-diff.ts";
import { policyExplain } from "./policy-explain.ts";
import { policyList } from "./policy-list.ts";
import { policyLock } from "./policy-lock.ts";
import { policyLsp } from "./policy-lsp.ts";
import { policyPromote } from "./policy-promote.ts";
import { policyReplay } from "./policy-replay.ts";
import { policyRollback } from "./policy-rollback.ts";
import { policyStatus } from "./policy-status.ts";
import { policyTest } from "./policy-test.ts";
import { renderEnvoyCommand } from "./render-envoy.ts";
import { renderIstioCommand } from "./render-istio.ts";
import { renderKubernetesCommand } from "./render-kubernetes.ts";
import { renderLinkerdCommand } from "./render-linkerd.ts";
import { renderNatsCommand } from "./render-nats.ts";
import { renderNginxCommand } from "./render-nginx.ts";
import { serve } from "./serve.ts";
import { sessionEnd } from "./session-end.ts";
import { sessionList } from "./session-list.ts";
import { sessionShow } from "./session-show.ts";
import { svidFetch } from "./svid-fetch.ts";
import { svidShow } from "./svid-show.ts";
import { token } from "./token.ts";
import { verify } from "./verify.ts";
import { whoami } from "./whoami.ts";

/** Every command, in the order help lists them. Adding one is a file and a line here. */
export const commands: readonly CliCommand[] = [
  init,
  serve,
  demo,
  exec,
  token,
  natsEnv,
  natsCreds,
  emit,
  end,
  explain,
  verify,
  doctor,
  login,
  logout,
  whoami,
  peopleList,
  peopleEnd,
  policyCheck,
  policyTest,
  policyCan,
  policyExplain,
  policyDiff,
  policyLock,
  policyLsp,
  policyReplay,
  policyCoverage,
  policyStatus,
  policyList,
  policyCandidate,
  policyCanary,
  policyPromote,
  policyRollback,
  configCheck,
  configSchema,
  renderNginxCommand,
  renderEnvoyCommand,
  renderKubernetesCommand,
  renderIstioCommand,
  renderLinkerdCommand,
  renderNatsCommand,
  natsAdmin,
  natsGateway,
  gatewayList,
  gatewayFollow,
  sessionList,
  sessionShow,
  sessionEnd,
  keyList,
  keyPrepare,
  keyActivate,
  keyRetire,
  keyRevoke,
  keyRotate,
  breakglassKey,
  breakglassRequest,
  breakglassSign,
  breakglassUse,
  breakglassServe,
  svidFetch,
  svidShow,
  eventsList,
  eventsRetry,
  auditList,
  auditTail,
  auditShow,
];

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
