import type { JobIdentity } from "../core/identity.ts";
import type { SessionChange } from "../gateway/nats/ports.ts";
import type { NatsRights, Policy } from "../policy/policy.ts";

/** What the servers were told of connected jobs, held against the policy in force. */
export interface RightsWatch {
  /** From now on the servers know what policy says at this moment about the session at the target. */
  hold(session: Connected, target: string): void;
  /** Its session is over. */
  forget(session: string): void;
  /** Tells of each session with a connection where another policy came into force since the last look. */
  look(): void;
}

interface Connected {
  readonly id: string;
  readonly identity: JobIdentity;
}

interface Held {
  readonly account: string | undefined;
  readonly rights: NatsRights;
}

export function createRightsWatch(
  deps: {
    /** Undefined for a session that is not known any more. */
    session(id: string): Connected | undefined;
    /** Undefined as long as none is known; then nothing can be held. */
    policy(): Pick<Policy, "natsRights" | "natsAccount"> | undefined;
  },
  tell: (change: SessionChange) => void,
): RightsWatch {
  const sessions = new Map<string, Map<string, Held>>();
  let looked = deps.policy();

  /** Each target where the server would now refuse what policy allows. */
  const widened = (session: Connected, targets: Map<string, Held>): readonly string[] =>
    [...targets].flatMap(([target, held]) => {
      const now = rightsOf(deps.policy(), session, target);
      if (now.account === held.account && covers(held.rights, now.rights)) return [];
      targets.set(target, now); // told once: whoever does not come again is refused by the server
      return [target];
    });

  return {
    hold(session, target) {
      const held = sessions.get(session.id) ?? new Map<string, Held>();
      sessions.set(session.id, held.set(target, rightsOf(deps.policy(), session, target)));
    },
    forget: (session) => void sessions.delete(session),
    look() {
      const policy = deps.policy();
      if (policy === looked) return;
      looked = policy;
      for (const [id, targets] of sessions) {
        const session = deps.session(id);
        if (session === undefined) {
          sessions.delete(id);
          continue;
        }
        tell({ kind: "changed", session: id });
        for (const target of widened(session, targets)) {
          const why = `policy gives this job more at ${target} than it connected with; connect again`;
          tell({ kind: "rights", session: id, why });
        }
      }
    },
  };
}

function rightsOf(
  policy: Pick<Policy, "natsRights" | "natsAccount"> | undefined,
  { identity }: Connected,
  target: string,
): Held {
  if (policy === undefined) throw new TypeError("without a policy there are no rights");
  return { account: policy.natsAccount(target, identity), rights: policy.natsRights(identity, target) };
}

/** True where the server, told of `held`, lets pass all that `now` could allow. Word for word: it may say no too often. */
function covers(held: NatsRights, now: NatsRights): boolean {
  const lists = ["pub", "req", "sub", "pull"] as const;
  const has = (list: (typeof lists)[number]): boolean => {
    const known = new Set(held[list].map((each) => JSON.stringify(each)));
    return now[list].every((each) => known.has(JSON.stringify(each)));
  };
  return (held.observed || !now.observed) && lists.every(has);
}
