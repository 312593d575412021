import { WayleaveError } from "../core/errors.ts";
import { type OperatorRole, operatorRoles, type PeopleType } from "../core/person.ts";

/** How a directory's claims become roles. */
export interface RoleRules {
  readonly type: PeopleType;
  readonly groupsClaim: string;
  /** Groups that give each role; compared character by character. */
  readonly roles: Readonly<Record<OperatorRole, readonly string[]>>;
}

type Claims = Readonly<Record<string, unknown>>;

/** Okta cuts the list near 100 and says nothing; one below it is whole for sure. */
const oktaLimit = 100;
const maxGroups = 1_000;

/**
 * The roles that verified claims give. Throws `groups_incomplete` where the directory may have left groups out, so that
 * nobody loses a role in silence, and `role_missing` where none is given.
 */
export function rolesOf(rules: RoleRules, claims: Claims): readonly OperatorRole[] {
  const groups = new Set(groupsOf(rules, claims));
  const found = operatorRoles.filter((role) => rules.roles[role].some((group) => groups.has(group)));
  if (found.length > 0) return found;
  const who = `sub ${JSON.stringify(String(claims.sub).slice(0, 100))}`;
  throw new WayleaveError(
    "role_missing",
    rules.type === "google"
      ? `Nobody with this ${who} has a role; an operator adds it under people.roles.`
      : `None of this person's ${groups.size} groups has a role (${who}); an operator maps one under people.roles.`,
  );
}

function groupsOf(rules: RoleRules, claims: Claims): readonly string[] {
  const { type, groupsClaim } = rules;
  const value = Object.hasOwn(claims, groupsClaim) ? claims[groupsClaim] : undefined;
  if (type === "google") return typeof value === "string" ? [value] : [];
  refuseOverage(rules, claims);
  if (value === undefined) throw incomplete(`the token has no claim "${groupsClaim}"; ${missing[type]}`);
  if (!Array.isArray(value) || !value.every((group): group is string => typeof group === "string")) {
    throw incomplete(`its claim "${groupsClaim}" is no list of texts; map the groups as a list`);
  }
  if (type === "okta" && value.length >= oktaLimit) {
    const fix = "narrow the claim's filter there, to `Starts with: wayleave`";
    throw incomplete(`it lists ${value.length} groups, and Okta leaves out what is beyond about ${oktaLimit}; ${fix}`);
  }
  if (value.length > maxGroups) throw incomplete(`it lists more than ${maxGroups} groups; send fewer`);
  return value;
}

/** A directory that says where the groups are instead of saying them. @see OpenID Connect Core 1.0 §5.6.2 */
function refuseOverage({ type, groupsClaim }: RoleRules, claims: Claims): void {
  const { _claim_names: elsewhere, hasgroups } = claims;
  const moved = typeof elsewhere === "object" && elsewhere !== null && Object.hasOwn(elsewhere, groupsClaim);
  const said = groupsClaim === "groups" && hasgroups !== undefined && hasgroups !== false && hasgroups !== "false";
  if (!moved && !said) return;
  const fix =
    type === "entra"
      ? 'in the application\'s token configuration choose "Groups assigned to the application", or use app roles and `groups_claim: roles`'
      : "send the groups themselves in the ID token, fewer of them";
  throw incomplete(`the person has too many groups, so the directory sent a link instead; ${fix}`);
}

/** Why a claim of groups is absent, and what to do. */
const missing: Readonly<Record<PeopleType, string>> = {
  oidc: "have the directory put it into ID tokens, or correct people.groups_claim and people.scopes",
  okta: "add a groups claim to the application's ID token, with a filter that one of the person's groups passes",
  entra: "add the groups claim to ID tokens in the application's token configuration; a person in no group has none",
  google: "Google has none",
  gitlab: "GitLab leaves it out for people in no group, or in too many: make one group for this, with few others",
};

function incomplete(why: string): WayleaveError {
  return new WayleaveError("groups_incomplete", `The person's groups are not all known: ${why}.`);
}
