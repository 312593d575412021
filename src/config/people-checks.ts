import { operatorRoles } from "../core/person.ts";
import type { Diagnostic } from "./diagnostic.ts";
import type { ConfigDocument, KeyPath } from "./document.ts";

/** Something read but not yet known to fit the schema. */
type Loose = Readonly<Record<string, unknown>>;

/** What each directory does its own way, told before anybody is refused at sign-in, or let in who should not be. */
export function peopleChecks(document: ConfigDocument, people: Loose, root: Loose): readonly Diagnostic[] {
  const report = (code: string, message: string, key: KeyPath, help: string): Diagnostic => ({
    severity: "error",
    code,
    message,
    place: document.valueAt(["people", ...key]),
    help,
  });
  return [
    ...issuerChecks(people, root, report),
    ...clientChecks(people, root, report),
    ...domainChecks(people, report),
    ...groupChecks(people, report),
  ];
}

type Report = (code: string, message: string, key: KeyPath, help: string) => Diagnostic;

function issuerChecks({ type, issuer }: Loose, root: Loose, report: Report): readonly Diagnostic[] {
  if (typeof issuer !== "string") return [];
  if (issuer === root.issuer) {
    const help = "name the directory that people sign in to: this broker signs nobody in by its own word";
    return [report("people_issuer_self", `people.issuer is this broker itself`, ["issuer"], help)];
  }
  if (type === "entra" && /\/(common|organizations|consumers)(\/|$)/.test(issuer)) {
    const help = "write https://login.microsoftonline.com/<tenant id>/v2.0: these stand for every directory there is";
    return [report("people_issuer_open", `${issuer} is no directory of yours`, ["issuer"], help)];
  }
  if (type === "okta" && /^https:\/\/[^/]+-admin\.okta/.test(issuer)) {
    const help = `write ${issuer.replace("-admin.okta", ".okta")}, without -admin, as its discovery document says`;
    return [report("people_issuer_admin", `${issuer} is the admin console`, ["issuer"], help)];
  }
  return [];
}

/** An ID token that both sides took could be used at the other. */
function clientChecks({ client_id: clientId }: Loose, root: Loose, report: Report): readonly Diagnostic[] {
  const issuers = Array.isArray(root.issuers) ? (root.issuers as readonly (Loose | null)[]) : [];
  const audiences = [root.issuer, ...issuers.map((issuer) => issuer?.audience)];
  if (typeof clientId !== "string" || !audiences.includes(clientId)) return [];
  const help = "register an application of its own for people: what is asked for by jobs must not sign anybody in";
  return [report("people_audience_shared", `${clientId} is the audience of jobs' tokens`, ["client_id"], help)];
}

function domainChecks({ type, hosted_domain: domain }: Loose, report: Report): readonly Diagnostic[] {
  if (type === "google" && domain === undefined) {
    const help = "add `hosted_domain: <your Workspace domain>`: every Google account has a token of this issuer";
    return [report("hosted_domain_missing", "people has no hosted_domain", [], help)];
  }
  if (type === "google" || domain === undefined) return [];
  const help = "remove it, or say `type: google`: other directories put no `hd` into their tokens";
  return [report("hosted_domain_misplaced", "hosted_domain is of google", ["hosted_domain"], help)];
}

const guid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function groupChecks(people: Loose, report: Report): readonly Diagnostic[] {
  const { type, groups_claim: claim } = people;
  if (type === "google" && claim !== undefined) {
    const help = "remove it: Google puts no groups into tokens; list people under `roles` by their `sub`";
    return [report("groups_claim_misplaced", "google has no claim of groups", ["groups_claim"], help)];
  }
  const roles = (typeof people.roles === "object" && people.roles !== null ? people.roles : {}) as Loose;
  return operatorRoles.flatMap((role) => {
    const listed: readonly unknown[] = Array.isArray(roles[role]) ? roles[role] : [];
    return listed.flatMap((group, at) => {
      const problem = typeof group === "string" ? formProblem(type, claim, group) : undefined;
      return problem === undefined ? [] : [report("people_group_form", problem[0], ["roles", role, at], problem[1])];
    });
  });
}

/** What can never equal anything in a token of this directory: message and fix. */
function formProblem(type: unknown, claim: unknown, group: string): readonly [string, string] | undefined {
  if (type === "google" && !/^[0-9]{1,32}$/.test(group)) {
    return [
      `${group} is no Google account's id`,
      "write the person's `sub`, digits; a refused `wayleave login` says it",
    ];
  }
  if (type === "entra" && (claim ?? "groups") === "groups" && !guid.test(group)) {
    return [`${group} is no object id`, "write the group's object id in lower case: names are not in the token"];
  }
  if (type === "gitlab" && (group.startsWith("/") || group.endsWith("/") || group.includes("://"))) {
    return [`${group} is no group's path`, "write its full path, such as acme/platform"];
  }
  return undefined;
}
