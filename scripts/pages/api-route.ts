import type { z } from "zod";

/** A body: a type that `src/api` exports, the schema it is read by, the fields of a form, or a media type that is told elsewhere. */
export type Body =
  | { readonly json: string }
  | { readonly schema: z.ZodType }
  | { readonly form: Readonly<Record<string, string>> }
  | { readonly media: string };

export interface ApiRoute {
  /** As the router has it: `GET /v1/sessions/:id`. */
  readonly route: string;
  readonly does: string;
  /** What `:name` in the path stands for. */
  readonly path?: Readonly<Record<string, string>>;
  /** The schema it is read by, and what each parameter means. */
  readonly query?: readonly [z.ZodObject, Readonly<Record<string, string>>];
  readonly takes?: Body;
  /** Absent: 204, no body. */
  readonly gives?: Body;
}
