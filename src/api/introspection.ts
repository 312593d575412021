import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { WayleaveError } from "../core/errors.ts";
import { Form, readForm } from "./form.ts";
import { oauthError } from "./oauth-error.ts";

/** What a gateway may know of a token. Times are NumericDate. @see RFC 7662 §2.2 */
export type IntrospectionResponse =
  | { readonly active: false }
  | {
      readonly active: true;
      readonly iss: string;
      readonly sub: string;
      /** Targets that the token is for and the gateway fronts. */
      readonly aud: readonly string[];
      readonly client_id: string;
      readonly sid: string;
      readonly jti: string;
      readonly exp: number;
      /** Role ids, space separated. */
      readonly scope: string;
      readonly token_type: "Bearer" | "DPoP";
      /** Of a token that is good only with a proof, which whoever asks has to verify. */
      readonly cnf?: { readonly jkt: string };
    };

export interface IntrospectionRouteDeps {
  /** The name of the gateway that a name and a secret prove; undefined for everybody else. */
  gateway(name: string | undefined, secret: string | undefined): string | undefined;
  /** Told of who asked without being a gateway. */
  onUnauthenticated(detail: string): void;
  /** What this gateway may know of a token; inactive for everything else, and recorded where that is why. */
  introspect(gateway: string, token: string): Promise<IntrospectionResponse>;
}

/**
 * `POST /oauth2/introspect`, for gateways alone: each proves itself by its name and secret (HTTP Basic, or the headers of
 * `/authz`) and learns of tokens for its own targets only. @see RFC 7662
 */
export function introspectionRoutes(deps: IntrospectionRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    readForm(app);
    app.setErrorHandler((error: Error, request, reply) => oauthError(error, request, challenged(error, reply)));

    app.post("/oauth2/introspect", async (request, reply): Promise<IntrospectionResponse> => {
      const gateway = deps.gateway(...credentials(request));
      if (gateway === undefined) {
        deps.onUnauthenticated("a token was asked about by nobody we know");
        throw new WayleaveError(
          "gateway_unauthenticated",
          "Unknown gateway or wrong secret; see gateways[] and its secret_file.",
        );
      }
      reply.header("cache-control", "no-store");
      return deps.introspect(gateway, Form.of(request.body).required("token"));
    });
  };
}

/** RFC 6749 §5.2: a client that could have used Basic is told so. */
function challenged(error: Error, reply: FastifyReply): FastifyReply {
  if (!(error instanceof WayleaveError) || error.code !== "gateway_unauthenticated") return reply;
  return reply.header("www-authenticate", 'Basic realm="wayleave gateways"');
}

function credentials({ headers }: FastifyRequest): [name: string | undefined, secret: string | undefined] {
  const { authorization, "x-wayleave-gateway": name, "x-wayleave-gateway-secret": secret } = headers;
  if (authorization === undefined) return [one(name), one(secret)];
  // Two ways at once prove nothing.
  if (name !== undefined || secret !== undefined) return [undefined, undefined];
  const [, encoded = ""] = /^Basic ([A-Za-z0-9+/]+=*)$/i.exec(authorization) ?? [];
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon === -1 ? [undefined, undefined] : [decoded(text.slice(0, colon)), decoded(text.slice(colon + 1))];
}

/** RFC 6749 §2.3.1: both are form-encoded before they are joined. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return undefined;
  }
}

/** A repeated header proves nothing. */
function one(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
