import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { KeyChain } from "../credential/key-chain.ts";
import { isLive, type KeyClass, type KeyLife, lastTokenExpiresAt } from "../credential/key-life.ts";
import type { KeyHolder, KeyResponse, KeyRevocationResponse, KeySummary, KeysResponse } from "./contract.ts";
import { operatorText } from "./operator-caller.ts";
import { problem } from "./problem.ts";

export interface KeyRouteDeps {
  /** ms since the epoch. */
  now(): number;
  /** Those this installation has. */
  readonly classes: readonly KeyClass[];
  /** Of one of `classes`. */
  chain(keyClass: KeyClass): Pick<KeyChain, "list" | "prepare" | "activate" | "retire" | "revoke">;
  /** After this, ms, everybody who keeps the key set of the class has asked again. */
  cacheMs(keyClass: KeyClass): number;
  /** Gateways that check signatures themselves. */
  readonly holders: readonly KeyHolder[];
}

interface ClassPath {
  Params: { class: string };
}

interface KeyPath {
  Params: { class: string; kid: string };
}

/** The signing keys and their four verbs, on the operators' socket only. */
export function keyRoutes(deps: KeyRouteDeps) {
  const answer = (keyClass: KeyClass, life: KeyLife): KeyResponse => ({
    key: keySummary(keyClass, life),
    keys: deps
      .chain(keyClass)
      .list()
      .filter(isLive)
      .map((each) => keySummary(keyClass, each)),
    gateways: deps.holders.filter((holder) => holder.class === keyClass),
  });

  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);

    app.get(
      "/v1/keys",
      async (): Promise<KeysResponse> => ({
        keys: deps.classes.flatMap((keyClass) =>
          deps
            .chain(keyClass)
            .list()
            .map((life) => keySummary(keyClass, life)),
        ),
        gateways: deps.holders,
      }),
    );

    app.post<ClassPath>("/v1/keys/:class/prepare", async (request) => {
      const keyClass = classOf(deps, request.params.class);
      return answer(keyClass, await deps.chain(keyClass).prepare(reasonOf(request)));
    });

    app.post<ClassPath>("/v1/keys/:class/activate", async (request) => {
      const keyClass = classOf(deps, request.params.class);
      return answer(keyClass, await deps.chain(keyClass).activate(reasonOf(request)));
    });

    app.post<KeyPath>("/v1/keys/:class/:kid/retire", async (request) => {
      const keyClass = classOf(deps, request.params.class);
      return answer(keyClass, await deps.chain(keyClass).retire(request.params.kid));
    });

    app.post<KeyPath>("/v1/keys/:class/:kid/revoke", async (request): Promise<KeyRevocationResponse> => {
      const keyClass = classOf(deps, request.params.class);
      const because = reasonOf(request);
      const { key, signing } = await deps.chain(keyClass).revoke(request.params.kid, operatorText(request), because);
      const now = deps.now();
      const forgottenAt = now + deps.cacheMs(keyClass);
      return {
        ...answer(keyClass, key),
        forgotten_at: iso(forgottenAt),
        ...(signing === undefined ? {} : { signing: keySummary(keyClass, signing) }),
        ...(signing === undefined
          ? {}
          : { signing_known_at: iso(Math.max(now, (signing.publishedAt ?? now) + deps.cacheMs(keyClass))) }),
      };
    });
  };
}

export const ReasonBody = z.strictObject({ because: z.string().min(1).max(500).optional() });

/** Why, where the operator said so. */
function reasonOf({ body }: FastifyRequest): string | undefined {
  const parsed = ReasonBody.safeParse(body ?? {});
  if (parsed.success) return parsed.data.because;
  throw new WayleaveError("invalid_request", 'Send {"because"?: "<at most 500 characters>"} as JSON.');
}

function classOf({ classes }: KeyRouteDeps, text: string): KeyClass {
  const found = classes.find((known) => known === text);
  if (found !== undefined) return found;
  throw new WayleaveError(
    "invalid_request",
    `There is no key class ${JSON.stringify(text.slice(0, 40))}; the classes are ${classes.join(", ")}.`,
  );
}

/** A key as JSON shows it: never the key itself. */
function keySummary(keyClass: KeyClass, life: KeyLife): KeySummary {
  const lastToken = lastTokenExpiresAt(life);
  return {
    class: keyClass,
    kid: life.kid,
    state: life.state,
    created_at: iso(life.createdAt),
    ...(life.usableAt === undefined ? {} : { usable_at: iso(life.usableAt) }),
    ...(life.activatedAt === undefined ? {} : { signs_since: iso(life.activatedAt) }),
    ...(lastToken === undefined ? {} : { last_token_expires_at: iso(lastToken) }),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
