/** Names an account may have. In config mode the server's configuration and every user JWT spell it as it is here. */
export const accountNamePattern = /^[A-Za-z0-9_-]{1,64}$/;

/** Accounts of the installation itself: no policy may place a job there. Compared without regard to case. */
const ownAccounts = { system: "SYS", auth: "AUTH" } as const;

/** True for a name that a policy's account may have. */
export function isAccountName(name: string): boolean {
  const own: readonly string[] = Object.values(ownAccounts);
  return accountNamePattern.test(name) && !own.includes(name.toUpperCase());
}
