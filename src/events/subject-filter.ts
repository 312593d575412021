/** Whether a subject as published lies within a filter; `*` is one token, a final `>` one or more. */
export function subjectMatches(filter: string, subject: string): boolean {
  const wanted = filter.split(".");
  const tokens = subject.split(".");
  for (const [at, want] of wanted.entries()) {
    const token = tokens[at];
    if (token === undefined || token === "") return false;
    if (want === ">") return at === wanted.length - 1;
    if (want !== "*" && want !== token) return false;
  }
  return tokens.length === wanted.length;
}
