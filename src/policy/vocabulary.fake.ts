import type { SelectorField, Vocabulary } from "../core/identity.ts";

const text = (arity: SelectorField["arity"] = "one", anchors = false): SelectorField => ({
  type: "string",
  arity,
  anchors,
  doc: "for tests",
});
const flag: SelectorField = { type: "boolean", arity: "one", anchors: false, doc: "for tests" };

/** A small vocabulary of the two providers' shape, so that policy is tested without knowing a CI. */
export const fakeVocabulary: Vocabulary = {
  gitlab: {
    project: text("every", true),
    project_id: text("every", true),
    group: text("any", true),
    ref: text(),
    ref_type: text(),
    ref_protected: flag,
    environment: text(),
    environment_protected: flag,
    deployment_tier: text(),
    source: text(),
    user_login: text(),
    runner_environment: text(),
  },
  buildkite: {
    organization: text("one", true),
    pipeline: text("one", true),
    step: text(),
    ref: text(),
    ref_type: text(),
    source: text(),
  },
  github: { repository: text("one", true), repository_id: text("one", true), ref: text(), ref_type: text() },
  oidc: { project: text("one", true) },
  aws: { account: text("one", true) },
};
