import type { IntrospectionResponse, IntrospectionRouteDeps } from "../api/introspection.ts";
import type { Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { type AuditEvent, recordJob } from "../core/record.ts";
import { subjectOf, verifyAccessToken } from "../credential/access-token.ts";
import { createGatewayGuard, secretHash } from "../gateway/gateway-guard.ts";
import { createRefusalFlood } from "../gateway/refusal-flood.ts";
import type { Policy } from "../policy/policy.ts";
import type { SessionTable } from "../session/table.ts";
import type { BrokerKeys } from "./keys.ts";

interface IntrospectionDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly keys: Pick<BrokerKeys, "accessToken" | "fingerprint">;
  readonly table: Pick<SessionTable, "find" | "revoked">;
  policy(): Policy;
  /** Must not throw. */
  note(event: AuditEvent): void;
  onUnauthenticated(detail: string): void;
}

const inactive: IntrospectionResponse = { active: false };

/** Records of one gateway's questions about tokens of others, per minute. */
const recordedPerMinute = 10;

/** What gateways may know of access tokens, from the live sessions. */
export function connectIntrospection(deps: IntrospectionDeps): IntrospectionRouteDeps {
  const { config, clock, keys, table } = deps;
  const gateways = config.gateways.filter(({ secret }) => secret !== "");
  const guard = createGatewayGuard(
    gateways.map(({ name, secret, targets }) => ({ name, targets, secretHashes: [secretHash(secret)] })),
  );
  const fronted = new Map(gateways.map(({ name, targets }) => [name, targets]));
  const floods = new Map(gateways.map(({ name }) => [name, createRefusalFlood(clock, recordedPerMinute)]));

  return {
    gateway: (name, secret) => guard(name, secret)?.name,
    onUnauthenticated: deps.onUnauthenticated,
    async introspect(gateway, token) {
      const now = clock.now();
      const verified = await verifyAccessToken(keys.accessToken, config.issuer, token, now).catch(() => undefined);
      const session = verified === undefined ? undefined : table.find(verified.sessionId);
      if (verified === undefined || session === undefined) return inactive;
      const { narrowing, jkt, jti, expiresAt } = verified;
      const aud = (narrowing.targets ?? []).filter((target) => fronted.get(gateway)?.includes(target));
      if (aud.length === 0) {
        const who = { session: session.id, job: recordJob(session.identity) };
        floods.get(gateway)?.((more) =>
          deps.note({
            kind: "gateway.refused",
            ...who,
            data: {
              code: "target_unknown",
              detail: `it asked about token ${keys.fingerprint(token)}, which is for no target that it fronts${more}`,
              gateway,
            },
          }),
        );
        return inactive;
      }
      if (session.view.state !== "active" || table.revoked(jti)) return inactive;
      const roles = deps.policy().rolesFor(session.identity);
      const held = roles.map(({ id }) => id).filter((id) => narrowing.roles?.includes(id) ?? true);
      return {
        active: true,
        iss: config.issuer,
        sub: subjectOf(config.trustDomain, session.identity),
        aud,
        client_id: session.identity.issuer,
        sid: session.id,
        jti,
        exp: Math.floor(expiresAt / 1000),
        scope: held.join(" "),
        token_type: jkt === undefined ? "Bearer" : "DPoP",
        ...(jkt === undefined ? {} : { cnf: { jkt } }),
      };
    },
  };
}
