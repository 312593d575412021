import type { Vocabulary } from "../core/identity.ts";
import type { PolicyModel } from "../policy/model.ts";
import type { Replayed } from "./replay.ts";
import { type FindUsed, operationSource, usedOperations } from "./used-operations.ts";

/** How much of a role was used, by requests that the policy allows. */
export interface RoleCoverage {
  readonly role: string;
  readonly file: string;
  readonly line: number;
  readonly requests: number;
  /** Projects that used it; a lower bound where there are more than are counted. */
  readonly projects: number;
  readonly last?: string;
  readonly operations: readonly OperationCoverage[];
}

export interface OperationCoverage {
  readonly target: string;
  readonly operation: string;
  readonly line: number;
  readonly requests: number;
}

interface Counted {
  requests: number;
  last: number;
  readonly projects: Set<string>;
  readonly operations: Map<string, number[]>;
}

/** Projects of one role that are told apart. */
const maxProjects = 1_000;

/** What of a policy the recorded requests use. Told each replayed request; what it keeps is bounded by the policy. */
export class Coverage {
  readonly #model: PolicyModel;
  readonly #find: FindUsed;
  readonly #roles = new Map<string, Counted>();

  constructor(model: PolicyModel, vocabulary: Vocabulary) {
    this.#model = model;
    this.#find = usedOperations(model, vocabulary);
  }

  see({ request, judgement, session }: Replayed): void {
    if ("unknown" in judgement || judgement.outcome !== "allow" || judgement.rule === undefined) return;
    const counted = this.#counted(judgement.rule);
    counted.requests++;
    counted.last = Math.max(counted.last, request.at);
    const project = session?.identity.project;
    if (project !== undefined && counted.projects.size < maxProjects)
      counted.projects.add(`${session?.identity.issuer}/${project.id}`);
    if (session === undefined) return;
    const used = request.operations.map((operation) =>
      this.#find(judgement.rule ?? "", request.target, session.identity, operation),
    );
    const operations = counted.operations.get(request.target) ?? [];
    for (const at of new Set(used.find((found) => found.length > 0) ?? [])) operations[at] = (operations[at] ?? 0) + 1;
    counted.operations.set(request.target, operations);
  }

  /** Every role of the policy, by where it is written. */
  report(): readonly RoleCoverage[] {
    return this.#model.roles.map(({ id, place, allow }) => {
      const counted = this.#roles.get(id);
      return {
        role: id,
        file: place.file,
        line: place.line,
        requests: counted?.requests ?? 0,
        projects: counted?.projects.size ?? 0,
        ...(counted === undefined ? {} : { last: new Date(counted.last).toISOString() }),
        operations: Object.entries(allow).flatMap(([target, operations]) =>
          operations.map((operation, at) => ({
            target,
            operation: operationSource(operation),
            line: operation.place.line,
            requests: counted?.operations.get(target)?.[at] ?? 0,
          })),
        ),
      };
    });
  }

  #counted(role: string): Counted {
    const known = this.#roles.get(role) ?? { requests: 0, last: 0, projects: new Set<string>(), operations: new Map() };
    this.#roles.set(role, known);
    return known;
  }
}
