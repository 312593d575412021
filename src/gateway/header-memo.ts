const maxNames = 1024;

/**
 * What names of headers mean, each worked out once in lower case. As written, since the same clients write them alike; bounded,
 * so that a client's inventions cannot fill the memory.
 */
export function rememberNames<Kind>(classify: (lowerCase: string) => Kind): (name: string) => Kind {
  const seen = new Map<string, Kind>();
  return (name) => {
    const found = seen.get(name);
    if (found !== undefined) return found;
    const kind = classify(name.toLowerCase());
    if (seen.size < maxNames && name.length <= 64) seen.set(name, kind);
    return kind;
  };
}
