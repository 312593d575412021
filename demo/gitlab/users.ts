import type { User, World } from "./types.ts";

export interface UserOptions {
  readonly username: string;
  readonly name?: string;
  readonly email?: string;
  readonly emailPublic?: boolean;
  readonly groups?: readonly string[];
  readonly identities?: readonly { readonly provider: string; readonly extern_uid: string }[];
}

/** A user of the instance. Usernames are unique; e-mail defaults to `<username>@acme.example`. */
export function createUser(world: World, options: UserOptions): User {
  if (world.users.has(options.username)) throw new TypeError(`user ${options.username} exists already`);
  const user: User = {
    id: world.nextId("user"),
    username: options.username,
    name: options.name ?? options.username.charAt(0).toUpperCase() + options.username.slice(1),
    email: options.email ?? `${options.username}@acme.example`,
    emailPublic: options.emailPublic ?? false,
    groups: options.groups ?? [],
    ...(options.identities ? { identities: options.identities } : {}),
  };
  world.users.set(user.username, user);
  return user;
}

/** GitLab's first user, who did whatever nobody else is said to have done. */
export function rootUser(world: World): User {
  return world.users.get("root") ?? createUser(world, { username: "root", name: "Administrator" });
}

/** The user of that name. Throws TypeError when there is none. */
export function userOf(world: World, username: string): User {
  const user = world.users.get(username);
  if (!user) throw new TypeError(`no user ${username}`);
  return user;
}
