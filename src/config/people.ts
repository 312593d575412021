import { z } from "zod";
import { type OperatorRole, operatorRoles, type PeopleType, peopleTypes } from "../core/person.ts";
import type { PeopleConfig } from "./config.ts";
import { parseDuration } from "./duration.ts";
import { describedFile, duration, isLoopback } from "./fields.ts";
import type { Reader } from "./reader.ts";

const groups = (who: string) =>
  z
    .array(z.string().min(1).max(256))
    .min(1, "must name at least one group")
    .describe(`Groups, as the claim writes them, whose people are ${who}. Default: nobody.`)
    .optional();

/** An exact `iss`. A final slash is part of some (Auth0, Entra ID v1). */
const issuer = z
  .string()
  .refine(isIssuer, "must be an https URL (http only on loopback) without user, query and fragment")
  .describe("Exact `iss` of its ID tokens, compared character by character; its discovery document lies below it.");

export const People = z.strictObject({
  type: z
    .enum(peopleTypes)
    .describe("Whose directory it is: `okta`, `entra`, `google`, `gitlab`, or `oidc` for any other. Default: oidc.")
    .optional(),
  issuer,
  client_id: z
    .string()
    .min(1)
    .max(256)
    .describe("The application there that people sign in to: the one audience of their ID tokens."),
  groups_claim: z
    .string()
    .min(1)
    .max(256)
    .describe(
      "Claim that lists a person's groups. Default: groups; gitlab: groups_direct; google has none, and lists people by `sub`.",
    )
    .optional(),
  scopes: z
    .array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, "must be a scope: printable, without spaces"))
    .describe("What `wayleave login` asks for beside `openid`. Default: profile; okta: profile, groups.")
    .optional(),
  hosted_domain: z
    .string()
    .regex(/^[a-z0-9-]+(\.[a-z0-9-]+)+$/, "must be a domain, such as acme.example")
    .describe("google: the Workspace domain whose people may sign in. Default: none; required there.")
    .optional(),
  roles: z
    .strictObject({
      viewer: groups("viewers: they see sessions, keys and gateways"),
      auditor: groups("auditors: viewers who read the records"),
      approver: groups("approvers: viewers who approve what operators prepare"),
      operator: groups("operators: auditors who change things. An operator is no approver"),
    })
    .refine((roles) => Object.values(roles).some((list) => list !== undefined), "must give at least one role")
    .describe("Who may do what, by group. Nobody has a role that is not given here."),
  session: duration("How long a sign-in lasts. Default: 8h.", { atMost: "24h" }).optional(),
  ca_file: describedFile("PEM certificates to trust for this issuer, beside the system's. Default: none.").optional(),
});

const claims: Readonly<Record<PeopleType, string>> = {
  oidc: "groups",
  okta: "groups",
  entra: "groups",
  google: "sub",
  gitlab: "groups_direct",
};

export function resolvePeople(raw: z.infer<typeof People>, read: Reader): PeopleConfig {
  const type = raw.type ?? "oidc";
  const ca = raw.ca_file === undefined ? undefined : read.file(raw.ca_file, ["people", "ca_file"]);
  const roles = operatorRoles.map((role): [OperatorRole, readonly string[]] => [role, raw.roles[role] ?? []]);
  return {
    type,
    issuer: raw.issuer,
    clientId: raw.client_id,
    groupsClaim: raw.groups_claim ?? claims[type],
    scopes: ["openid", ...(raw.scopes ?? (type === "okta" ? ["profile", "groups"] : ["profile"]))],
    ...(raw.hosted_domain === undefined ? {} : { hostedDomain: raw.hosted_domain }),
    roles: Object.fromEntries(roles) as Record<OperatorRole, readonly string[]>,
    sessionMs: parseDuration(raw.session ?? "8h") ?? 0,
    ...(ca === undefined ? {} : { ca }),
  };
}

function isIssuer(text: string): boolean {
  if (!URL.canParse(text) || /[?#]/.test(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== "" || password !== "") return false;
  return protocol === "https:" || (protocol === "http:" && isLoopback(hostname));
}
