import type { IdentityPair } from "./metric-series.ts";
import { clock } from "./story-checks.ts";
import type { StoryFacts } from "./story-facts.ts";
import { type Problem, problem } from "./story-problems.ts";

/** Pairs whose count rose while the session lived; of a single scrape nobody knows when, so they are all told. */
export function meshPairs({ mesh, session, now }: StoryFacts): readonly IdentityPair[] {
  const until = session.endedAt ?? now;
  return (mesh?.pairs ?? []).filter(
    ({ firstAt, lastAt }) => firstAt === lastAt || (firstAt <= until && lastAt >= session.openedAt),
  );
}

/** What a mesh's metrics say against the story: nobody proved an identity, or somebody got in without one. */
export function meshProblems(facts: StoryFacts): readonly Problem[] {
  const { mesh, session, now } = facts;
  if (mesh === undefined) return [];
  const pairs = meshPairs(facts);
  const period = `between ${clock(session.openedAt)} and ${clock(session.endedAt ?? now)}`;
  const plain = pairs.filter(({ mtls, firstAt, lastAt }) => !mtls && firstAt < lastAt);
  if (!pairs.some(({ mtls }) => mtls)) {
    const says = `looked for mutual TLS connections in ${mesh.source} ${period}`;
    const causes = [
      "the metrics are of another time or of other workloads: ask for a range that holds the session",
      "the workload's proxy is not scraped, or not injected",
    ] as const;
    return [problem("mesh_silent", "mesh", says, causes)];
  }
  return plain.map(({ workload, service, requests }) => {
    const says = `${workload ?? service ?? "a workload"} took ${requests} requests without a certificate ${period}`;
    const causes = [
      "a PeerAuthentication or Server that lets callers in without mutual TLS: see wayleave doctor --resources",
      "a caller outside the mesh",
    ] as const;
    return problem("mesh_plaintext", "mesh", says, causes);
  });
}
