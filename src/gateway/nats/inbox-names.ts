/** The prefix that unmodified clients use: all jobs of an account would share it. */
const clientPrefix = "_INBOX.";

/** `<inbox>.<batch id>.<flow>.<gaps>.<number>.<order>.$FI`. @see ADR-50 of NATS, fast-ingest batch publishing */
const batchOrder = ".$FI";

/** A job's own inboxes: what its client calls them, and what the server does. */
export interface InboxNames {
  /**
   * `_INBOX.x` or the job's own `_INBOX_….x` as the server knows it; undefined for anything else. What ends in `$FI` is no
   * inbox: JetStream reads a batch's id and orders for it from such a reply, and whoever names another's id commits or spoils it.
   */
  toServer(subject: string): string | undefined;
  /** The same subject as a client knows it that says `_INBOX.`; every other subject unchanged. */
  toClient(subject: string): string;
  /** True where the client itself uses the server's name. */
  isOwnName(subject: string): boolean;
}

/** @param inbox First token of the job's inboxes upstream, without a dot. */
export function inboxNames(inbox: string): InboxNames {
  const own = `${inbox}.`;
  return {
    toServer(subject) {
      if (subject.endsWith(batchOrder)) return undefined;
      if (subject.startsWith(clientPrefix)) return own + subject.slice(clientPrefix.length);
      return subject.startsWith(own) ? subject : undefined;
    },
    toClient(subject) {
      return subject.startsWith(own) ? clientPrefix + subject.slice(own.length) : subject;
    },
    isOwnName: (subject) => subject.startsWith(own),
  };
}
