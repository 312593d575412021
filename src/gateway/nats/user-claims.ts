import type { NatsConsumer, NatsRights, NatsRightsNow, NatsSubscription } from "../../policy/policy.ts";
import { reservedToken } from "../../policy/reserved-subject.ts";

/** Who a connection is, and what nats-server itself is to hold it to. */
export interface NatsUser {
  /** `gitlab:<issuer host or name>:<project id>:job:<job id>`: the name all of NATS sees. */
  readonly name: string;
  /** The server's one-shot key for the connection, `U…`. */
  readonly userNkey: string;
  /** Behind the gateway `Policy.natsRights`, whatever it will decide; in direct mode `Policy.natsRightsNow`, with its denials. */
  readonly rights: Pick<NatsRights, "pub" | "req" | "sub" | "pull" | "observed"> & Partial<Pick<NatsRightsNow, "deny">>;
  /** First token of the job's inboxes, `_INBOX_…`. */
  readonly inbox: string;
  /** ms since the epoch: the latest that the session's hard end can be. */
  readonly expiresAt: number;
  /**
   * `gateway`: the gateway decides each message, and the server takes the connection from the gateway only. `direct`: the
   * server alone enforces, and nobody records the messages.
   */
  readonly mode: "gateway" | "direct";
  /** Longest message, bytes, and most subscriptions at once. */
  readonly limits: { readonly payload: number; readonly subscriptions: number };
}

/** Longest life of a user JWT that the server alone enforces. */
export const directLifeMs = 15 * 60_000;

/** What a user JWT says; who signs it and where that places the user, its signer adds. */
export interface NatsUserClaims {
  readonly sub: string;
  readonly name: string;
  /** NumericDate. */
  readonly exp: number;
  readonly nats: {
    readonly type: "user";
    readonly pub: SubjectLists;
    readonly sub: SubjectLists;
    readonly resp?: { readonly max: number; readonly ttl: number };
    readonly subs: number;
    readonly data: -1;
    readonly payload: number;
    readonly allowed_connection_types: readonly ["STANDARD"];
    readonly proxy_required?: true;
  };
}

interface SubjectLists {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

/**
 * Claims of the user JWT. `now` is ms since the epoch. What policy never gives (inboxes, the server's own subjects) is left out
 * whatever the rights say. An observed target is open behind the gateway, which records what passes, and never in direct mode.
 * Throws `TypeError` where there is no name or inbox to give, a subject that NATS would read as something else, or no time left.
 */
export function natsUserClaims(user: NatsUser, now: number): NatsUserClaims {
  refuseUnusable(user);
  const { rights, mode, limits, inbox } = user;
  const until = mode === "direct" ? Math.min(user.expiresAt, now + directLifeMs) : user.expiresAt;
  const exp = Math.floor(until / 1000);
  if (!(exp * 1000 > now)) throw new TypeError("the session is at its hard end");
  const open = rights.observed && mode === "gateway";
  const { deny } = rights;
  return {
    sub: user.userNkey,
    name: user.name,
    exp,
    nats: {
      type: "user",
      pub: open
        ? lists([">"], closedPublishes(rights.pull))
        : lists(publishes(rights), [...(deny?.pub ?? []), ...consumerSubjects(deny?.pull ?? [])]),
      sub: open ? lists([">"], closed) : lists([`${inbox}.>`, ...subscriptions(rights.sub)], deny?.sub ?? []),
      ...(mode === "gateway" || rights.sub.length > 0 ? { resp: { max: 1, ttl: responseNanoseconds } } : {}),
      subs: limits.subscriptions,
      data: -1,
      payload: limits.payload,
      allowed_connection_types: ["STANDARD"],
      ...(mode === "gateway" ? { proxy_required: true } : {}),
    },
  };
}

/** How long a delivered message may be answered: two minutes. */
const responseNanoseconds = 120_000_000_000;

const namePattern = /^[a-z0-9-]{1,16}:[!-~]{1,400}$/;
const inboxPattern = /^_INBOX_[0-9A-Za-z]{16,}$/;
const queuePattern = /^[\w-]+$/;
const consumerPattern = /^(\*|[!-)+-=?-~]+)$/;

function refuseUnusable({ name, inbox, rights, limits }: NatsUser): void {
  if (!namePattern.test(name)) throw new TypeError("the user has no name"); // the server would take the client's own
  if (!inboxPattern.test(inbox)) throw new TypeError("the user has no inbox of its own");
  const { pub, req, sub, pull, deny } = rights;
  const subjects = [...pub, ...req, ...sub.map(({ subject }) => subject), ...(deny?.pub ?? []), ...(deny?.sub ?? [])];
  if (!subjects.every(isPattern)) throw new TypeError("a right is no pattern of subjects");
  const parts = [...pull, ...(deny?.pull ?? [])].flatMap(({ stream, consumer }) => [stream, consumer]);
  const queues = sub.flatMap(({ queue }) => queue ?? []);
  if (!parts.every((part) => consumerPattern.test(part) && !part.includes(".")) || !queues.every(isQueue))
    throw new TypeError("a right names no consumer, or no queue group");
  if (!(limits.payload > 0 && limits.subscriptions > 0)) throw new TypeError("a limit is none"); // 0 or less is no limit
}

const isQueue = (queue: string) => queuePattern.test(queue);

/** Tokens of printable ASCII; `*` is a whole token, and `>` the last one. */
function isPattern(subject: string): boolean {
  const tokens = subject.split(".");
  return tokens.every((token, at) => /^(\*|[!-)+-=?-~]+)$/.test(token) || (token === ">" && at === tokens.length - 1));
}

/** As policy and gateway see it, also where it was a claim that filled the first token. */
function isGiven(subject: string): boolean {
  return reservedToken(subject.split(".", 1)[0] ?? "") === undefined;
}

function publishes({ pub, req, pull }: NatsUser["rights"]): readonly string[] {
  const asked = pull.length > 0 ? ["$JS.API.INFO"] : [];
  return [...[...pub, ...req].filter(isGiven), ...consumerSubjects(pull), ...asked];
}

/** What a client sends to fetch from consumers, look at them and acknowledge to them. */
function consumerSubjects(pull: readonly NatsConsumer[]): readonly string[] {
  return pull.flatMap(({ stream, consumer }) => [
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
    `$JS.API.CONSUMER.INFO.${stream}.${consumer}`,
    `$JS.ACK.${stream}.${consumer}.*.*.*.*.*`,
    // With domain and account hash, and perhaps a token more at the end. Exact lengths: neither form is another consumer's other.
    `$JS.ACK.*.*.${stream}.${consumer}.*.*.*.*.*`,
    `$JS.ACK.*.*.${stream}.${consumer}.*.*.*.*.*.*`,
  ]);
}

/**
 * A right without a queue group covers any. Where another right names a group, the server would hold both to that one, so
 * "any" is said too.
 */
function subscriptions(sub: readonly NatsSubscription[]): readonly string[] {
  const scoped = sub.some(({ queue }) => queue !== undefined);
  return sub
    .filter(({ subject }) => isGiven(subject))
    .flatMap(({ subject, queue }) => {
      if (queue !== undefined) return [`${subject} ${queue}`];
      return scoped ? [subject, `${subject} >`] : [subject];
    });
}

/** What stays closed at an observed target, as far as wildcards can say it. The gateway refuses all of it. */
const closed = ["$SYS", "$JS", "$JSC", "$NRG", "$SRV", "$MQTT", "$G", "_INBOX", "_R_", "_GR_", "wayleave"].map(
  (first) => `${first}.>`,
);

/** JetStream's API but for what a pull needs: whoever creates a consumer publishes anywhere. */
const closedApi = [
  ...["ACCOUNT", "STREAM", "DIRECT", "META", "SERVER"].map((family) => `$JS.API.${family}.>`),
  ...["CREATE", "DURABLE", "DELETE", "LEADER", "LIST", "NAMES", "PAUSE", "RESET", "UNPIN"].map(
    (verb) => `$JS.API.CONSUMER.${verb}.>`,
  ),
  "$JS.FC.>",
];

function closedPublishes(pull: readonly NatsConsumer[]): readonly string[] {
  if (pull.length === 0) return closed;
  return [...closed.filter((subject) => subject !== "$JS.>"), ...closedApi];
}

/** nats-server reads an empty list as no list, and no list as everything. */
function lists(allow: readonly string[], deny: readonly string[]): SubjectLists {
  const unique = (subjects: readonly string[]) => [...new Set(subjects)].sort();
  if (allow.length === 0) return { deny: [">"] };
  return { allow: unique(allow), ...(deny.length > 0 ? { deny: unique(deny) } : {}) };
}
