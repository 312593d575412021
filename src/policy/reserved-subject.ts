/** Subjects that no policy gives and no job may name, by how their first token is written. */
interface Reserved {
  readonly form: RegExp;
  readonly why: string;
  readonly help: string;
}

const reserved: readonly Reserved[] = [
  {
    form: /^[*>]$/,
    why: "a subject that begins with a wildcard reaches every inbox of the account",
    help: "write the first token out: build.>",
  },
  {
    form: /^\$JS$/,
    why: "the JetStream API gives more than it says: a push consumer publishes anywhere",
    help: "write pull STREAM.CONSUMER to fetch, and pub on the stream's subjects to store",
  },
  {
    form: /^\$(?!(KV|O)$)/,
    why: "subjects that begin with $ are the server's own",
    help: "name a subject of your services; of the $ subjects only $KV and $O hold data",
  },
  {
    form: /^_INBOX/,
    why: "every job has inboxes of its own, and nobody else's",
    help: "leave it out: replies reach the job without a role",
  },
  {
    form: /^_G?R_/,
    why: "this is where servers route replies between accounts",
    help: "name a subject of your services",
  },
  {
    form: /^wayleave/i,
    why: "subjects that begin with wayleave are the broker's own",
    help: "choose another first word",
  },
];

/**
 * Why no job may name a subject whose first token is this one, or undefined. Subjects alone: names of streams and consumers
 * (`pull`) are not reserved.
 */
export function reservedToken(first: string): { readonly why: string; readonly help: string } | undefined {
  const code = first.charCodeAt(0);
  // Asked for every message: nearly every subject begins with a letter that none of the above does.
  if (code !== 0x24 && code !== 0x5f && code !== 0x57 && code !== 0x77 && code !== 0x2a && code !== 0x3e) {
    return undefined;
  }
  return reserved.find(({ form }) => form.test(first));
}
