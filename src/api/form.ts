import type { FastifyInstance } from "fastify";
import { WayleaveError } from "../core/errors.ts";

const maxFormBytes = 64 * 1024;

/** Lets an instance read form bodies (as text; `Form.of` parses) and nothing else. */
export function readForm(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "string", bodyLimit: maxFormBytes },
    (_request, body, done) => done(null, body),
  );
}

/** A form body. Only `audience` and `resource` may repeat. @see RFC 6749 §3.2, RFC 8693 §2.1 */
export class Form {
  readonly #params: URLSearchParams;

  private constructor(params: URLSearchParams) {
    this.#params = params;
  }

  static of(body: unknown): Form {
    if (typeof body !== "string") {
      throw new WayleaveError("invalid_request", "Send the parameters as application/x-www-form-urlencoded.");
    }
    const params = new URLSearchParams(body);
    for (const name of new Set(params.keys())) {
      if (name !== "audience" && name !== "resource" && params.getAll(name).length > 1) {
        throw new WayleaveError("invalid_request", `Parameter ${JSON.stringify(name.slice(0, 40))} is given twice.`);
      }
    }
    return new Form(params);
  }

  /** The parameter, or undefined when absent or empty (RFC 6749 §3.2: an empty value counts as omitted). */
  one(name: string): string | undefined {
    const value = this.#params.get(name);
    return value === null || value === "" ? undefined : value;
  }

  required(name: string): string {
    const value = this.one(name);
    if (value === undefined) throw new WayleaveError("invalid_request", `Parameter ${name} is missing.`);
    return value;
  }

  all(name: string): readonly string[] {
    return this.#params.getAll(name).filter((value) => value !== "");
  }
}
