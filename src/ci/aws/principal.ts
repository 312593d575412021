import { createHash } from "node:crypto";
import { WayleaveError } from "../../core/errors.ts";
import type { AttributeValue, JobIdentity, SelectorField } from "../../core/identity.ts";
import type { IssuerRef } from "../provider.ts";
import type { AwsConfig } from "./config.ts";

const string = { type: "string", arity: "one", anchors: false } as const;
const anchor = { type: "string", arity: "one", anchors: true } as const;

/** What an `aws:` selector can name. */
export const awsFields = {
  account: { ...anchor, doc: "id of the account, 12 digits in quotes" },
  project: { ...anchor, doc: "the principal: 111122223333/role/shop-ci or 111122223333/user/bot" },
  principal_id: { ...anchor, doc: "unique id of the role or user, AROA… or AIDA…; of a signed request only" },
  organization: { ...anchor, doc: "id of the AWS organization; of a token only" },
  role: { ...string, doc: "name of the role, without its path" },
  user: { ...string, doc: "name of the IAM user, without its path" },
  session_name: { ...string, doc: "name of the role's session, as whoever assumed it chose; of a signed request only" },
  region: { ...string, doc: "region the token was asked for in; of a token only" },
} as const satisfies Readonly<Record<string, SelectorField>>;

/** An AWS principal, as AWS itself says it. */
export interface AwsPrincipal {
  readonly account: string;
  readonly kind: "role" | "user";
  readonly name: string;
  readonly sessionName?: string;
}

/** What is known of a caller beside its principal. */
export interface AwsCaller {
  readonly principal: AwsPrincipal;
  /** `AROA…:session` or `AIDA…`. */
  readonly userId?: string;
  readonly organization?: string;
  readonly region?: string;
}

const assumed = /^arn:aws[a-z-]{0,10}:sts::(\d{12}):assumed-role\/([\w+=,.@-]{1,64})\/([\w+=,.@-]{2,64})$/;
const permanent = /^arn:aws[a-z-]{0,10}:iam::(\d{12}):(role|user)\/(?:[\x21-\x7e]{0,510}\/)?([\w+=,.@-]{1,64})$/;

/** A role's session, a role or a user; `identity_refused` for the root user, a federated user and every other form. */
export function parsePrincipal(arn: string): AwsPrincipal {
  const session = assumed.exec(arn);
  if (session !== null) {
    const [, account = "", name = "", sessionName = ""] = session;
    return { account, kind: "role", name, sessionName };
  }
  const [, account, kind, name] = permanent.exec(arn) ?? [];
  if (account !== undefined && name !== undefined && (kind === "role" || kind === "user"))
    return { account, kind, name };
  throw new WayleaveError(
    "identity_refused",
    "The AWS principal is neither a role nor an IAM user; let the job assume a role of its own.",
  );
}

/**
 * The identity of a caller that AWS vouched for. Names of roles are unique in their account, so account, kind and name are
 * the project. Its jobs cannot be told apart, so that the end of one says nothing of the next. Throws `identity_refused`
 * for an account that is not configured.
 */
export function awsIdentity(caller: AwsCaller, { accounts, forks }: AwsConfig, issuer: IssuerRef): JobIdentity {
  const { account, kind, name, sessionName } = caller.principal;
  if (!accounts.includes(account)) {
    throw new WayleaveError(
      "identity_refused",
      `Account ${account} is not among issuers[].aws.accounts of ${issuer.name}.`,
    );
  }
  const path = `${account}/${kind}/${name}`;
  // Short, and of characters that a SPIFFE ID can hold.
  const id = `${account}-${createHash("sha256").update(path).digest("hex").slice(0, 20)}`;
  const job = caller.userId ?? id;
  return {
    issuer: issuer.name,
    issuerType: "aws",
    kind: "job",
    project: { id, path },
    pipelineId: sessionName ?? id,
    job: { id: job, ofRun: true },
    fork: forks === "none" ? "no" : "unknown",
    attributes: attributes(caller, path),
    variables: { "job.project_id": id, "job.pipeline_id": sessionName ?? id, "job.id": job },
  };
}

type Attributes = { readonly [Field in keyof typeof awsFields]: AttributeValue | undefined };

function attributes({ principal, userId, organization, region }: AwsCaller, path: string) {
  const all: Attributes = {
    account: principal.account,
    project: path,
    principal_id: userId?.split(":")[0],
    organization,
    role: principal.kind === "role" ? principal.name : undefined,
    user: principal.kind === "user" ? principal.name : undefined,
    session_name: principal.sessionName,
    region,
  };
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, AttributeValue] => entry[1] !== undefined),
  );
}
