/** Nothing can be decided or recorded. Observed targets go on: they were promised not to be stopped. */
export function outageAnswer(
  deps: OutageDeps,
  question: { readonly target: string; readonly assertion?: string },
  traceparent: string,
  error: unknown,
) {
  deps.onFault(error);
  const observed = isObserved(deps, question.target);
  return {
    outcome: observed ? "would_deny" : "deny",
    reason: "outage",
    record: "",
    traceparent,
    cacheSeconds: 0,
    consumesAuthorization: !observed && question.assertion === undefined,
    unauthenticated: false,
  } as const;
}

interface OutageDeps {
  policy(): { readonly targets: ReadonlyMap<string, { readonly mode: "observe" | "enforce" }> };
  onFault(error: unknown): void;
}

function isObserved(deps: OutageDeps, target: string): boolean {
  try {
    return deps.policy().targets.get(target)?.mode === "observe";
  } catch {
    return false;
  }
}
