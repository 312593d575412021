import type { Canary } from "../core/policy-record.ts";
import type { AuditRecord } from "../core/record.ts";

/** How a policy came into force, and instead of which. */
export interface PolicyChange {
  readonly version: string;
  readonly how: "loaded" | "promoted" | "rolled_back";
  /** ms since the epoch. */
  readonly at: number;
  readonly replaces: string;
  /** What the files said when an operator decided otherwise: set aside for as long as they say that. */
  readonly disk?: string;
  readonly by?: string;
}

export interface CandidateEntry {
  readonly version: string;
  readonly at: number;
  readonly by: string;
}

export const noCanary: Canary = Object.freeze({ projects: [], share: 0 });

/** So many changes are remembered. */
const maxChanges = 100;

/** What operators and reloads made of the policy, as a fold over its records: what a restart goes on with. It holds no policy. */
export class PolicyHistory {
  readonly #changes: PolicyChange[] = [];
  #candidate: CandidateEntry | undefined;
  #canary = noCanary;

  /** The last change; undefined as long as the first policy that was loaded is in force. */
  get last(): PolicyChange | undefined {
    return this.#changes.at(-1);
  }

  /** Oldest first. */
  get changes(): readonly PolicyChange[] {
    return this.#changes;
  }

  get candidate(): CandidateEntry | undefined {
    return this.#candidate;
  }

  get canary(): Canary {
    return this.#canary;
  }

  apply(record: AuditRecord): void {
    const at = Date.parse(record.time);
    switch (record.kind) {
      case "policy.loaded": {
        const { policy: version, replaces } = record.data;
        if (replaces !== undefined) this.changed({ version, how: "loaded", at, replaces });
        return;
      }
      case "policy.promoted":
      case "policy.rolled_back": {
        const { policy: version, replaces, disk, by } = record.data;
        const how = record.kind === "policy.promoted" ? "promoted" : "rolled_back";
        this.changed({ version, how, at, replaces, disk, by });
        this.#canary = noCanary;
        return;
      }
      case "policy.candidate": {
        const { policy: version, by } = record.data;
        this.#candidate = { version, at, by };
        this.#canary = noCanary;
        return;
      }
      case "policy.candidate_withdrawn":
        this.#forgetCandidate();
        return;
      case "policy.canary":
        this.#canary = { projects: record.data.projects, share: record.data.share };
        return;
      default: // no other record is about which policy is in force
    }
  }

  /** Told before its record is durable, or by it: the same change twice is one. What is in force is no candidate any more. */
  changed(change: PolicyChange): void {
    if (this.last?.version === change.version && this.last.replaces === change.replaces) return;
    this.#changes.push(change);
    if (this.#changes.length > maxChanges) this.#changes.shift();
    if (this.#candidate?.version === change.version) this.#forgetCandidate();
  }

  #forgetCandidate(): void {
    this.#candidate = undefined;
    this.#canary = noCanary;
  }
}
