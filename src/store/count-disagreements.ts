import type { AuditRecord } from "../core/record.ts";
import { type Disagreement, disagreementOf } from "./disagreement.ts";
import type { RecordFilter } from "./ports.ts";

/** The counts where nobody keeps them: by reading all that tells of a disagreement, page by page. */
export async function countDisagreements(
  query: (filter: RecordFilter) => Promise<readonly AuditRecord[]>,
  candidate: string,
): Promise<readonly Disagreement[]> {
  const counts = new Map<string, Disagreement>();
  const asked = { kinds: ["decision", "policy.disagreed"], order: "oldest_first", limit: 1_000 } as const;
  for (let after: string | undefined; ; ) {
    const page = await query({ ...asked, ...(after === undefined ? {} : { after }) });
    for (const record of page) {
      const found = disagreementOf(record);
      if (found?.candidate === candidate) add(counts, found);
    }
    after = page.at(-1)?.id;
    if (after === undefined) return [...counts.values()].sort((a, b) => b.count - a.count || b.last_seq - a.last_seq);
  }
}

function add(counts: Map<string, Disagreement>, found: Disagreement): void {
  const { active, effect, target, role, reason } = found;
  const key = JSON.stringify([active, effect, target, role, reason]);
  const known = counts.get(key);
  const sum = known === undefined ? found : { ...found, count: known.count + found.count, first_ms: known.first_ms };
  counts.set(key, sum);
}
