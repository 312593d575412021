import { resolve } from "node:path";
import type { IssuerConfig } from "./config.ts";
import type { Diagnostic } from "./diagnostic.ts";
import type { ConfigDocument, KeyPath } from "./document.ts";
import { environmentReference } from "./fields.ts";

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Text of a file; throws with Node's `code` (ENOENT, EACCES, EISDIR). */
  readonly readFile: (path: string) => string;
}

/** Reads what the file points to, and collects what is missing rather than stopping at it. */
export class Reader {
  readonly problems: Diagnostic[] = [];
  readonly #folder: string;
  readonly #document: ConfigDocument;
  readonly #around: Surroundings;

  constructor(folder: string, document: ConfigDocument, around: Surroundings) {
    this.#folder = folder;
    this.#document = document;
    this.#around = around;
  }

  absolute(path: string): string {
    return resolve(this.#folder, path);
  }

  problem(code: string, message: string, path: KeyPath, help: string): void {
    this.problems.push({ severity: "error", code, message, place: this.#document.valueAt(path), help });
  }

  /** The file's text, or undefined and a problem. */
  file(path: string, at: KeyPath): string | undefined {
    const absolute = this.absolute(path);
    try {
      return this.#around.readFile(absolute);
    } catch (cause) {
      this.#unreadable(absolute, at, cause);
      return undefined;
    }
  }

  mustExist(absolute: string, at: KeyPath): void {
    try {
      this.#around.readFile(absolute);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EISDIR") this.#unreadable(absolute, at, cause);
    }
  }

  /** The secret under `key` or `key_file`; undefined where neither is set, or with a problem. Never part of a message. */
  secret(holder: Readonly<Record<string, unknown>>, key: string, path: KeyPath): string | undefined {
    const fileKey = `${key}_file`;
    const file = holder[fileKey];
    const reference = holder[key];
    if (typeof file === "string") {
      const text = this.file(file, [...path, fileKey])?.replace(/\r?\n$/, "");
      if (text === "")
        this.problem("secret_empty", `${this.absolute(file)} is empty`, [...path, fileKey], "write the secret into it");
      return text;
    }
    if (typeof reference !== "string") return undefined;
    const name = environmentReference.exec(reference)?.[1] ?? "";
    const value = this.#around.env[name];
    if (value === undefined || value === "") {
      this.problem(
        "secret_unset",
        `environment variable ${name} is not set`,
        [...path, key],
        `set it where the broker starts, or use \`${fileKey}\``,
      );
      return undefined;
    }
    return value;
  }

  /** Looks at what one key of a map points to, if it points to anything. */
  pointer(holder: Readonly<Record<string, unknown>>, key: string, path: KeyPath): void {
    const text = String(holder[key]);
    if (key.endsWith("_file")) this.file(text, [...path, key]);
    else if (environmentReference.test(text)) this.secret(holder, key, path);
  }

  jwks(path: string, at: KeyPath): IssuerConfig["jwks"] {
    const text = this.file(path, at);
    if (text === undefined) return undefined;
    const keys = parseKeys(text);
    if (keys !== undefined && keys.length > 0) return { keys };
    this.problem(
      "invalid_value",
      `${this.absolute(path)} is not a JWKS with at least one key`,
      at,
      'it looks like {"keys": [{"kty": …}]}',
    );
    return undefined;
  }

  #unreadable(absolute: string, at: KeyPath, cause: unknown): void {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOENT")
      this.problem("file_missing", `${absolute} does not exist`, at, "create it, or correct the path");
    else
      this.problem(
        "file_unreadable",
        `${absolute} cannot be read (${code ?? "unknown cause"})`,
        at,
        "check its owner and mode",
      );
  }
}

function parseKeys(text: string): readonly Readonly<Record<string, unknown>>[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // said by the caller
  }
  const keys = (value as { readonly keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === "object" && key !== null)) return undefined;
  return keys as Readonly<Record<string, unknown>>[];
}
