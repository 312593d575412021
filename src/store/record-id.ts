import { recordIdPattern } from "../core/ids.ts";

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";

/** The number in a record id: its last eight characters. Undefined for what is no record id. */
export function seqOfId(id: string): number | undefined {
  if (!recordIdPattern.test(id)) return undefined;
  return [...id.slice(8)].reduce((sum, character) => sum * 32 + alphabet.indexOf(character), 0);
}
