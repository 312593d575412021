import { type Auth, AuthorizationError } from "@nats-io/transport-node";

/** What came of a connection to a server that should refuse it. */
export interface DoorProbe {
  /** What it brought, as words that follow "a client". */
  readonly client: string;
  /** `unknown`: the server was not reached, which says nothing. */
  readonly outcome: "refused" | "let_in" | "unknown";
}

/**
 * Tries what anybody could: to come into a server past the gateway and without being a job. The configuration around what
 * `render` wrote decides it, whatever the files say: `no_auth_user`, or an `authorization` of its own further down, opens the
 * door. `connect` makes one connection to one server, without a proxy's signature and without trying again. Each probe is a
 * refused client in the records.
 */
export async function probeDoor(
  connect: (auth: Auth) => Promise<{ close(): Promise<void> }>,
): Promise<readonly DoorProbe[]> {
  const probes: DoorProbe[] = [];
  for (const { client, auth } of attempts) probes.push({ client, outcome: await attempt(() => connect(auth)) });
  return probes;
}

const attempts: readonly { readonly client: string; readonly auth: Auth }[] = [
  { client: "without a credential", auth: undefined },
  { client: "with a token of its own making", auth: { auth_token: "wayleave-probe" } },
  { client: "with a name and password of its own making", auth: { user: "wayleave-probe", pass: "wayleave-probe" } },
];

async function attempt(connect: () => Promise<{ close(): Promise<void> }>): Promise<DoorProbe["outcome"]> {
  try {
    const connection = await connect();
    await connection.close();
    return "let_in";
  } catch (error) {
    return error instanceof AuthorizationError ? "refused" : "unknown";
  }
}
