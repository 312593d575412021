/** The first nats-server in which no client can forge the identity of another, and that trusts its proxies by key. */
export const leastServerVersion = "2.12.7";

/** Whether a server's version is the least one or later. What is no version, and a preview of the least one, is not. */
export function isServerTaken(version: string): boolean {
  const found = /^v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(-[0-9A-Za-z.-]+)?$/.exec(version);
  if (found === null) return false;
  const numbers = found.slice(1, 4).map(Number);
  for (const [at, least] of leastServerVersion.split(".").map(Number).entries()) {
    const number = numbers[at] ?? 0;
    if (number !== least) return number > least;
  }
  return found[4] === undefined;
}
