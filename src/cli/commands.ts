import { auditList } from "./audit-list.ts";
import { auditShow } from "./audit-show.ts";
import { auditTail } from "./audit-tail.ts";
import type { CliCommand } from "./command.ts";
import { configCheck } from "./config-check.ts";
import { configSchema } from "./config-schema.ts";
import { demo } from "./demo.ts";
import { end } from "./end.ts";
import { exec } from "./exec.ts";
import { explain } from "./explain.ts";
import { init } from "./init.ts";
import { policyCan } from "./policy-can.ts";
import { policyCheck } from "./policy-check.ts";
import { policyExplain } from "./policy-explain.ts";
import { policyLock } from "./policy-lock.ts";
import { policyTest } from "./policy-test.ts";
import { renderNginxCommand } from "./render-nginx.ts";
import { serve } from "./serve.ts";
import { sessionEnd } from "./session-end.ts";
import { sessionList } from "./session-list.ts";
import { sessionShow } from "./session-show.ts";
import { token } from "./token.ts";

/** Every command, in the order help lists them. Adding one is a file and a line here. */
export const commands: readonly CliCommand[] = [
  init,
  serve,
  demo,
  exec,
  token,
  end,
  explain,
  policyCheck,
  policyTest,
  policyCan,
  policyExplain,
  policyLock,
  configCheck,
  configSchema,
  renderNginxCommand,
  sessionList,
  sessionShow,
  sessionEnd,
  auditList,
  auditTail,
  auditShow,
];

/** What the nouns are about. */
export const nouns: Readonly<Record<string, string>> = {
  policy: "check, test and question a policy",
  config: "check the configuration",
  render: "write a gateway's own configuration",
  session: "look at sessions, and end them",
  audit: "read the audit log",
};
