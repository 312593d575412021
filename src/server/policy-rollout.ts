import type { PolicyFiles } from "../config/policy-files.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Canary } from "../core/policy-record.ts";
import type { AuditEvent, AuditRecord, Recorder } from "../core/record.ts";
import { besidePolicy, type ShadowCounts } from "../policy/beside.ts";
import { noCanary, type PolicyChange, type PolicyHistory } from "../rollout/policy-history.ts";
import type { KeptPolicies, KeptPolicy } from "./kept-policies.ts";
import type { LoadedPolicy, PolicySource } from "./policy-source.ts";

/** The policy in force with what stands beside it, and the operators' verbs over both. Each verb is a durable record first. */
export interface PolicyRollout extends PolicySource {
  /** A policy to be tried beside the active one. Throws `policy_invalid`: then nothing changes, an earlier candidate included. */
  propose(texts: PolicyFiles, by: string): Promise<void>;
  /** Throws `no_candidate`. */
  withdraw(by: string): Promise<void>;
  /** The candidate decides for these from now on, for nobody where there are none. Throws `no_candidate` or `candidate_changed`. */
  tryOn(canary: Canary, version: string | undefined, by: string): Promise<void>;
  /** The candidate is the policy in force. Throws `no_candidate`, or `candidate_changed` where it is not the one that is meant. */
  promote(version: string | undefined, by: string): Promise<void>;
  /** A kept version, by default the one before, is in force for every job. Throws `policy_not_kept` or `policy_invalid`. */
  rollback(version: string | undefined, by: string): Promise<void>;
  rolloutState(): RolloutState;
  kept(): Promise<readonly KeptPolicy[]>;
}

/** What is decided by whom at this moment. */
export interface RolloutState {
  readonly active: LoadedPolicy;
  /** How the active one came into force; undefined for the first there was. */
  readonly change: PolicyChange | undefined;
  /** Version that the files make. */
  readonly disk: string;
  readonly candidate?: LoadedPolicy & { readonly proposedAt: number; readonly by: string; readonly faults: number };
  readonly canary: Canary;
  /** Oldest first. */
  readonly changes: readonly PolicyChange[];
}

export interface RolloutDeps {
  /** What the files say. */
  readonly disk: PolicySource;
  readonly history: PolicyHistory;
  readonly kept: KeptPolicies;
  readonly recorder: Pick<Recorder, "append">;
  readonly clock: Pick<Clock, "now">;
  readonly shadow: ShadowCounts;
  /** The policy of these texts, its tests passed. Throws `policy_invalid`. */
  build(texts: PolicyFiles): LoadedPolicy;
  /** Throws where this installation cannot run by the policy. */
  accept(policy: LoadedPolicy): void;
  /** The candidate could not decide: for the log. */
  onFault(error: unknown): void;
  warn(text: string): void;
}

/** Goes on where the records say the last run was. Throws where what was in force by an operator's word is lost. */
export async function openPolicyRollout(deps: RolloutDeps): Promise<PolicyRollout> {
  const rollout = new Rollout(deps);
  await rollout.takeUp();
  return rollout;
}

class Rollout implements PolicyRollout {
  readonly #deps: RolloutDeps;
  #active: LoadedPolicy;
  #candidate: LoadedPolicy | undefined;
  #faults = 0;
  #current: LoadedPolicy;
  #last: Promise<unknown> = Promise.resolve();

  constructor(deps: RolloutDeps) {
    this.#deps = deps;
    this.#active = deps.disk.current();
    this.#current = this.#active;
  }

  async takeUp(): Promise<void> {
    const { disk, history, kept } = this.#deps;
    const { last } = history;
    const onDisk = disk.current();
    await kept.keep(onDisk.policy.version, onDisk.texts);
    if (last !== undefined && last.version !== onDisk.policy.version) {
      if (last.disk === onDisk.policy.version) this.#active = await this.#restore(last.version, onDisk.policy.version);
      else await this.#record([loadedEvent({ ...onDisk, replaces: last.version })]);
    }
    if (history.candidate !== undefined) await this.#restoreCandidate(history.candidate.version);
    this.#compose();
  }

  current(): LoadedPolicy {
    return this.#current;
  }

  problem(): string | undefined {
    return this.#deps.disk.problem();
  }

  sources(): ReturnType<PolicySource["sources"]> {
    return this.#deps.disk.sources();
  }

  reload(): Promise<LoadedPolicy> {
    return this.#inTurn(async () => this.#take(await this.#deps.disk.reload()));
  }

  watch(onReload: Parameters<PolicySource["watch"]>[0]): () => void {
    return this.#deps.disk.watch((outcome) => {
      if (!("policy" in outcome)) onReload(outcome);
      // What the files say when its turn has come: by then a reload may have read something later.
      else void this.#inTurn(() => this.#take(this.#deps.disk.current())).then(onReload, onReload);
    });
  }

  propose(texts: PolicyFiles, by: string): Promise<void> {
    return this.#inTurn(async () => {
      const { build, accept, kept } = this.#deps;
      const loaded = build(texts);
      const { version } = loaded.policy;
      if (version === this.#active.policy.version) {
        throw new WayleaveError(
          "invalid_request",
          `Policy ${version} is in force already; change it, then propose it.`,
        );
      }
      accept(loaded);
      if (version === this.#candidate?.policy.version) return;
      await kept.keep(version, loaded.texts, this.#spare());
      const { files, model } = loaded;
      await this.#record([
        { kind: "policy.candidate", data: { policy: version, files, roles: model.roles.length, by } },
      ]);
      this.#candidate = loaded;
      this.#faults = 0;
      this.#compose();
    });
  }

  withdraw(by: string): Promise<void> {
    return this.#inTurn(async () => {
      const { policy } = this.#proposed(undefined);
      await this.#record([{ kind: "policy.candidate_withdrawn", data: { policy: policy.version, by } }]);
      this.#candidate = undefined;
      this.#compose();
    });
  }

  tryOn({ projects, share }: Canary, meant: string | undefined, by: string): Promise<void> {
    return this.#inTurn(async () => {
      const { policy } = this.#proposed(meant);
      await this.#record([{ kind: "policy.canary", data: { policy: policy.version, projects, share, by } }]);
      this.#compose();
    });
  }

  promote(meant: string | undefined, by: string): Promise<void> {
    return this.#inTurn(async () => {
      const candidate = this.#proposed(meant);
      this.#deps.accept(candidate);
      await this.#record([{ kind: "policy.promoted", data: this.#changeTo(candidate, by) }]);
      this.#active = candidate;
      this.#candidate = undefined;
      this.#compose();
    });
  }

  rollback(wanted: string | undefined, by: string): Promise<void> {
    return this.#inTurn(async () => {
      const version = await this.#keptVersion(wanted);
      if (version === this.#active.policy.version) return this.#endCanary(by);
      const { build, accept, kept } = this.#deps;
      const earlier = build(await kept.read(version));
      this.#sameAs(version, earlier);
      accept(earlier);
      await kept.keep(version, earlier.texts, this.#spare());
      await this.#record([{ kind: "policy.rolled_back", data: this.#changeTo(earlier, by) }]);
      this.#active = earlier;
      this.#compose();
    });
  }

  rolloutState(): RolloutState {
    const { history, disk } = this.#deps;
    const { by = "", at: proposedAt = 0 } = history.candidate ?? {};
    const loaded = this.#candidate;
    return {
      active: this.#active,
      change: history.last,
      disk: disk.current().policy.version,
      ...(loaded === undefined ? {} : { candidate: { ...loaded, proposedAt, by, faults: this.#faults } }),
      canary: history.canary,
      changes: history.changes,
    };
  }

  kept(): Promise<readonly KeptPolicy[]> {
    return this.#deps.kept.list();
  }

  /** Files that an operator's word set aside stay so as long as they say the same; anything else they say is the policy. */
  async #take(loaded: LoadedPolicy): Promise<LoadedPolicy> {
    const { version } = loaded.policy;
    if (version === this.#active.policy.version) return this.#current;
    if (this.#deps.history.last?.disk === version) return { ...this.#current, disk: version };
    await this.#deps.kept.keep(version, loaded.texts, this.#spare());
    const replaces = this.#active.policy.version;
    this.#active = loaded;
    // Told to the history here, and recorded by whoever asked for the reload.
    this.#deps.history.changed({ version, how: "loaded", at: this.#deps.clock.now(), replaces });
    this.#compose();
    return { ...this.#current, replaces };
  }

  #compose(): void {
    const { history, shadow, onFault } = this.#deps;
    const active = this.#active;
    if (history.candidate === undefined) this.#candidate = undefined;
    const loaded = this.#candidate;
    if (loaded === undefined) {
      this.#current = active;
      return;
    }
    const fault = (error: unknown): void => {
      this.#faults++;
      if (this.#faults === 1) onFault(error);
    };
    const { canary } = history;
    const both = { active: active.policy, candidate: loaded.policy };
    const policy = besidePolicy({ ...both, canary, shadow, onFault: fault });
    this.#current = { ...active, policy, beside: { loaded, canary } };
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work, work);
    this.#last = next;
    return next;
  }

  async #record(events: readonly AuditEvent[]): Promise<void> {
    const records: readonly AuditRecord[] = await this.#deps.recorder.append(events);
    for (const record of records) this.#deps.history.apply(record);
  }

  #proposed(meant: string | undefined): LoadedPolicy {
    const candidate = this.#candidate;
    if (candidate === undefined) {
      throw new WayleaveError(
        "no_candidate",
        "There is no candidate; propose one with `wayleave policy candidate <file>`.",
      );
    }
    const { version } = candidate.policy;
    if (meant === undefined || isMeant(version, meant)) return candidate;
    throw new WayleaveError(
      "candidate_changed",
      `The candidate is ${version} and not ${meant.slice(0, 64)}: somebody proposed another. Look at it with \`wayleave policy status\`, then name it.`,
    );
  }

  #changeTo({ policy }: LoadedPolicy, by: string) {
    const disk = this.#deps.disk.current().policy.version;
    return { policy: policy.version, replaces: this.#active.policy.version, disk, by };
  }

  /** The one kept version that begins so. */
  async #keptVersion(wanted: string | undefined): Promise<string> {
    const meant = wanted ?? this.#deps.history.last?.replaces;
    if (meant === undefined) {
      throw new WayleaveError(
        "policy_not_kept",
        "No other policy was in force here before; name a version of `wayleave policy list`.",
      );
    }
    const found = (await this.#deps.kept.list()).filter(({ version }) => isMeant(version, meant));
    const [only] = found;
    if (only === undefined) {
      throw new WayleaveError(
        "policy_not_kept",
        `No policy ${meant.slice(0, 64)} is kept here; see \`wayleave policy list\`.`,
      );
    }
    if (found.length === 1) return only.version;
    throw new WayleaveError(
      "invalid_request",
      `${found.length} kept policies begin with ${meant}; write more of the version.`,
    );
  }

  async #endCanary(by: string): Promise<void> {
    const { history } = this.#deps;
    const { version } = this.#active.policy;
    if (history.candidate === undefined || !isTried(history.canary)) {
      throw new WayleaveError("invalid_request", `Policy ${version} is in force already, for every job.`);
    }
    await this.#record([{ kind: "policy.canary", data: { ...noCanary, policy: history.candidate.version, by } }]);
    this.#compose();
  }

  /** Not forgotten to make room: what is in force, what is tried, and what was before. */
  #spare(): readonly string[] {
    const { history } = this.#deps;
    const versions = [this.#active.policy.version, history.candidate?.version, history.last?.replaces];
    return versions.filter((version) => version !== undefined);
  }

  async #restore(version: string, onDisk: string): Promise<LoadedPolicy> {
    const { kept, build, accept } = this.#deps;
    try {
      const loaded = build(await kept.read(version));
      this.#sameAs(version, loaded);
      accept(loaded);
      return loaded;
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : "unknown";
      throw new WayleaveError(
        "policy_invalid",
        `Policy ${version} was in force by an operator's word, and cannot be loaded again: ${why} ` +
          `The files say ${onDisk}, which it had replaced. Change the files: what they say then is loaded.`,
        { cause },
      );
    }
  }

  async #restoreCandidate(version: string): Promise<void> {
    const { kept, build, accept, warn } = this.#deps;
    try {
      const loaded = build(await kept.read(version));
      this.#sameAs(version, loaded);
      accept(loaded);
      this.#candidate = loaded;
    } catch (error) {
      const detail = error instanceof Error ? error.message : "unknown";
      warn(`the candidate ${version} cannot be loaded again and is withdrawn: ${detail}`);
      await this.#record([{ kind: "policy.candidate_withdrawn", data: { policy: version, by: "the broker", detail } }]);
    }
  }

  #sameAs(version: string, { policy }: LoadedPolicy): void {
    if (policy.version === version) return;
    throw new WayleaveError("policy_invalid", `The texts kept for policy ${version} are those of ${policy.version}.`);
  }
}

/** A version, or at least six characters of its beginning. */
const isMeant = (version: string, meant: string): boolean => meant.length >= 6 && version.startsWith(meant);

const isTried = ({ projects, share }: Canary): boolean => projects.length > 0 || share > 0;

/** The record of what a reload brought. */
export function loadedEvent({ policy, model, files, replaces, disk }: LoadedPolicy): AuditEvent {
  const changed = replaces === undefined ? {} : { replaces };
  const aside = disk === undefined ? {} : { disk };
  return {
    kind: "policy.loaded",
    data: { policy: policy.version, files, roles: model.roles.length, ...changed, ...aside },
  };
}
