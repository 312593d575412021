/**
 * Things by the NATS pattern they stand for: a question looks only at patterns that begin as its subject does, however many
 * there are.
 */
export interface NatsTrie<T> {
  literals: Map<string, NatsTrie<T>> | undefined;
  star: NatsTrie<T> | undefined;
  /** Of patterns that go on with `>`. */
  rest: T[] | undefined;
  /** Of patterns that end here. */
  ends: T[] | undefined;
}

export function natsTrie<T>(): NatsTrie<T> {
  return { literals: undefined, star: undefined, rest: undefined, ends: undefined };
}

/** `tokens` as NATS writes them, `>` last only. */
export function addSubject<T>(trie: NatsTrie<T>, tokens: readonly string[], item: T): void {
  let node = trie;
  for (const token of tokens) {
    if (token === ">") {
      node.rest ??= [];
      node.rest.push(item);
      return;
    }
    node = token === "*" ? starOf(node) : literalOf(node, token);
  }
  node.ends ??= [];
  node.ends.push(item);
}

function starOf<T>(node: NatsTrie<T>): NatsTrie<T> {
  node.star ??= natsTrie();
  return node.star;
}

function literalOf<T>(node: NatsTrie<T>, token: string): NatsTrie<T> {
  node.literals ??= new Map();
  const known = node.literals.get(token);
  if (known !== undefined) return known;
  const fresh = natsTrie<T>();
  node.literals.set(token, fresh);
  return fresh;
}

/**
 * Everything whose pattern has all of what is asked in it: a subscription to `a.>` is within `a.>`, not within `a.*`. No order
 * is promised.
 */
export function findCovering<T>(trie: NatsTrie<T>, tokens: readonly string[]): T[] {
  const found: T[] = [];
  cover(trie, tokens, 0, found);
  return found;
}

function cover<T>(node: NatsTrie<T>, tokens: readonly string[], at: number, found: T[]): void {
  const token = tokens[at];
  if (token === undefined) {
    if (node.ends !== undefined) take(node.ends, found);
    return;
  }
  if (node.rest !== undefined) take(node.rest, found);
  if (token === ">") return;
  if (node.star !== undefined) cover(node.star, tokens, at + 1, found);
  const literal = token === "*" ? undefined : node.literals?.get(token);
  if (literal !== undefined) cover(literal, tokens, at + 1, found);
}

/** Everything whose pattern shares a subject with what is asked: a subscription to `>` shares one with every pattern. */
export function findSharing<T>(trie: NatsTrie<T>, tokens: readonly string[]): T[] {
  const found: T[] = [];
  share(trie, tokens, 0, found);
  return found;
}

function share<T>(node: NatsTrie<T>, tokens: readonly string[], at: number, found: T[]): void {
  const token = tokens[at];
  if (token === undefined) {
    if (node.ends !== undefined) take(node.ends, found);
    return;
  }
  if (node.rest !== undefined) take(node.rest, found);
  if (token === ">") for (const child of childrenOf(node)) all(child, found);
  else if (token === "*") for (const child of childrenOf(node)) share(child, tokens, at + 1, found);
  else {
    if (node.star !== undefined) share(node.star, tokens, at + 1, found);
    const literal = node.literals?.get(token);
    if (literal !== undefined) share(literal, tokens, at + 1, found);
  }
}

function childrenOf<T>({ literals, star }: NatsTrie<T>): readonly NatsTrie<T>[] {
  return [...(literals?.values() ?? []), ...(star === undefined ? [] : [star])];
}

function all<T>(node: NatsTrie<T>, found: T[]): void {
  take(node.ends ?? [], found);
  take(node.rest ?? [], found);
  for (const child of childrenOf(node)) all(child, found);
}

function take<T>(items: readonly T[], found: T[]): void {
  for (const item of items) found.push(item);
}
