import { CanaryBody, PolicyMeantBody, PolicyTextsBody } from "../../src/api/policy.ts";
import type { ApiRoute } from "./api-route.ts";

/** Which policy is in force, and the verbs that change that. */
export const rolloutRoutes: readonly ApiRoute[] = [
  {
    route: "GET /v1/policy",
    does: "The policy in force, the candidate beside it, and where the two differ.",
    gives: { json: "RolloutResponse" },
  },
  {
    route: "GET /v1/policies",
    does: "Policies that are kept and can be gone back to, newest first.",
    gives: { json: "PolicyListResponse" },
  },
  {
    route: "POST /v1/policy/candidate",
    does: "Tries a policy beside the one in force. One with errors is no candidate.",
    takes: { schema: PolicyTextsBody },
    gives: { json: "RolloutResponse" },
  },
  {
    route: "POST /v1/policy/candidate/withdraw",
    does: "Has no candidate any more.",
    gives: { json: "RolloutResponse" },
  },
  {
    route: "POST /v1/policy/canary",
    does: "Lets the candidate decide for some projects; for nobody where none is named.",
    takes: { schema: CanaryBody },
    gives: { json: "RolloutResponse" },
  },
  {
    route: "POST /v1/policy/promote",
    does: "Puts the candidate in force. With `version`: only where it is that one.",
    takes: { schema: PolicyMeantBody },
    gives: { json: "RolloutResponse" },
  },
  {
    route: "POST /v1/policy/rollback",
    does: "Puts a kept policy in force again; without `version` the one before.",
    takes: { schema: PolicyMeantBody },
    gives: { json: "RolloutResponse" },
  },
];
