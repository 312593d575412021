import { encodeNumber } from "../core/ids.ts";

/** Makes ids of record numbers: `rec_`, the log's four characters, eight of the number. Keeps what consecutive ids share. */
export function recordIds(log: string): (seq: number) => string {
  const endings = Array.from({ length: 1024 }, (_, at) => encodeNumber(at, 2));
  let block = -1;
  let prefix = "";
  return (seq) => {
    const wanted = Math.floor(seq / 1024);
    if (wanted !== block) {
      block = wanted;
      prefix = `rec_${log}${encodeNumber(wanted, 6)}`;
    }
    return prefix + endings[seq % 1024];
  };
}
