/** What a person may do to a broker. Every role may look; nothing of it is a right of a job. */
export const operatorRoles = ["viewer", "auditor", "approver", "operator"] as const;
export type OperatorRole = (typeof operatorRoles)[number];

/** The directories whose tokens need a reading of their own; `oidc` is everything else. */
export const peopleTypes = ["oidc", "okta", "entra", "google", "gitlab"] as const;
export type PeopleType = (typeof peopleTypes)[number];

/** Roles that a role stands for, itself included. Nobody approves by being an operator: that is for another person. */
const standsFor: Readonly<Record<OperatorRole, readonly OperatorRole[]>> = {
  viewer: ["viewer"],
  auditor: ["viewer", "auditor"],
  approver: ["viewer", "approver"],
  operator: ["viewer", "auditor", "operator"],
};

/** True where one of the roles stands for the one that is needed. */
export function covers(roles: readonly OperatorRole[], needed: OperatorRole): boolean {
  return roles.some((role) => standsFor[role].includes(needed));
}

/** A person as the issuer knows them: the same (iss, sub) is the same person, whatever the name says. */
export interface Person {
  readonly by: "person";
  readonly iss: string;
  readonly sub: string;
  /** For reading only: it may change, and others may have had it. */
  readonly name?: string;
}

/** Who operates the broker. The local operator is whoever could open the operators' socket. */
export type Actor = Person | { readonly by: "bootstrap" } | { readonly by: "local" };

/** An actor in one line, for records and answers. */
export function actorText(actor: Actor): string {
  if (actor.by === "bootstrap") return "the bootstrap token";
  if (actor.by === "local") return "local operator";
  return `${actor.name ?? actor.sub} (${actor.sub} of ${actor.iss})`;
}
