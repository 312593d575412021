/**
 * The candidate nearest to `word` by edit distance (insert, delete, replace, swap of neighbours), or undefined where none is
 * near enough to be a typing mistake: at most one edit in three characters. Case does not count. Ties: the first candidate.
 */
export function suggest(word: string, candidates: Iterable<string>): string | undefined {
  const wanted = word.toLowerCase();
  if (wanted === "" || wanted.length > 64) return undefined;
  let best: string | undefined;
  let bound = Math.max(1, Math.floor(wanted.length / 3));
  for (const candidate of candidates) {
    if (candidate === word || Math.abs(candidate.length - wanted.length) > bound) continue;
    const distance = editDistance(wanted, candidate.toLowerCase(), bound);
    if (distance > bound || (best !== undefined && distance === bound)) continue;
    best = candidate;
    bound = distance;
    if (distance === 0) break;
  }
  return best;
}

/** The help line for `suggest`: `did you mean "x"?`, or what there is to choose from where that is short enough to print. */
export function didYouMean(word: string, candidates: readonly string[]): string | undefined {
  const near = suggest(word, candidates);
  if (near !== undefined) return `did you mean "${near}"?`;
  if (candidates.length === 0 || candidates.length > 16) return undefined;
  return `known: ${candidates.join(", ")}`;
}

/** The name that a help line of `didYouMean` proposes; what a quick fix puts in. */
export function proposedIn(help: string): string | undefined {
  return /^did you mean "(.*)"\?$/.exec(help)?.[1];
}

/** Optimal string alignment distance, three rows at a time; something beyond `bound` where it is certain to be beyond it. */
function editDistance(a: string, b: string, bound: number): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(previous, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(before, j - 2) + 1 : replaced;
      row.push(Math.min(at(previous, j) + 1, at(row, j - 1) + 1, replaced, swapped));
    }
    if (Math.min(...row) > bound) return bound + 1;
    before = previous;
    previous = row;
  }
  return at(previous, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? 0;
}
