/**
 * True where two Git addresses name one repository, whatever their form: `git@host:a/b.git`, `ssh://git@host/a/b`,
 * `https://host/a/b.git`. An address in no known form is like nothing, not even itself.
 */
export function sameRepository(one: string, other: string): boolean {
  const place = placeOf(one);
  return place !== undefined && place === placeOf(other);
}

/** `host/a/b`: the host in lower case, the path as written. */
function placeOf(address: string): string | undefined {
  const found =
    /^(?:https?|git|ssh):\/\/(?:[^@/]*@)?([A-Za-z0-9.-]+)(?::\d+)?\/([A-Za-z0-9_./~-]+)$/.exec(address) ??
    /^(?:[A-Za-z0-9_-]+@)?([A-Za-z0-9.-]+):([A-Za-z0-9_.~-][A-Za-z0-9_./~-]*)$/.exec(address);
  const [, host = "", path = ""] = found ?? [];
  const name = path.replace(/\/$/, "").replace(/\.git$/, "");
  return host === "" || name.split("/").some((part) => part === "" || part === "." || part === "..")
    ? undefined
    : `${host.toLowerCase()}/${name}`;
}
