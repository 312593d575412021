import { Readable } from "node:stream";

/**
 * The body of a request, apart from what it came in by: whoever sends it on destroys it at its end or when the service wants no
 * more of it, and with the whole would go the answer. As slow as it is read.
 */
export function requestBody(from: Readable): Readable {
  const take = (chunk: Buffer): void => {
    if (!body.push(chunk)) from.pause();
  };
  const ended = (): void => void body.push(null);
  const body = new Readable({
    read: () => void from.resume(),
    destroy(error, done) {
      from.off("data", take).off("end", ended);
      done(error);
    },
  });
  from.on("data", take).once("end", ended).pause();
  return body;
}
