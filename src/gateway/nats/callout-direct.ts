/** What came of asking for an admission: the answer, or why it was not even asked. */
export type Admitted<T> = { readonly kind: "asked"; readonly grant: T } | { readonly kind: "late" | "overloaded" };

/**
 * Admissions of direct mode, so many at once: each may wait for a CI's keys or for the disk. The others wait their turn, and
 * one whose deadline is over by then is not asked about any more; past `waiting` of them nobody waits. Rejects as `admit` does.
 */
export function boundAdmissions<R extends { readonly deadline: number }, T>(
  admit: (request: R) => Promise<T>,
  options: { readonly atOnce: number; readonly waiting: number; now(): number },
): (request: R) => Promise<Admitted<T>> {
  const { atOnce, waiting, now } = options;
  const queue: (() => void)[] = [];
  let running = 0;

  /** Whoever waits longest has the place at once, so that nobody slips in between. */
  const leave = () => {
    const next = queue.shift();
    if (next === undefined) running--;
    else next();
  };
  return async (request) => {
    if (running >= atOnce) {
      if (queue.length >= waiting) return { kind: "overloaded" };
      await new Promise<void>((resolve) => queue.push(resolve));
    } else running++;
    try {
      if (request.deadline < now()) return { kind: "late" };
      return { kind: "asked", grant: await admit(request) };
    } finally {
      leave();
    }
  };
}
