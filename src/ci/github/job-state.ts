/** True where a GitHub job or run can never change again; one that is run again is another attempt. */
export function isTerminal(status: string): boolean {
  return status === "completed";
}
