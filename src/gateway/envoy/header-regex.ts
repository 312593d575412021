import { overrideHeaders } from "../stripped-headers.ts";

/** What proxies say of the request as they got it; a client's own copy is noise, or a trick. */
const originalHeaders = [
  ...["x-original-connection", "x-original-host", "x-original-method", "x-original-upgrade", "x-original-uri"],
  ...["x-forwarded-method", "x-forwarded-prefix", "x-forwarded-uri"],
] as const;

/** Said by the gateway in front, which is trusted behind one; and by nobody else. */
const hopHeaders = ["forwarded", "x-forwarded-host", "x-forwarded-port"] as const;

/** Set by Envoy itself or the gateway in front: only look-alikes go. */
const keptHeaders = ["authorization", "host", "x-forwarded-for", "x-forwarded-proto"] as const;

/**
 * Names of headers that no client may send, as one expression over lower-case names: identity, overrides of method and
 * URL, and whatever steers Envoy itself. Servers that make variables of headers turn every separator into one, so each
 * name is meant with any character in place of its `-`.
 */
export function headerRegex({ inner }: { readonly inner: boolean }): string {
  const gone = [...overrideHeaders, ...originalHeaders, ...(inner ? [] : [...hopHeaders, "txn-token"])];
  const kept = [...keptHeaders, ...(inner ? [...hopHeaders, "txn-token"] : [])];
  return [
    `x${any}wayleave${any}.*`,
    `x${any}envoy${any}.*`,
    ...gone.map((name) => name.replaceAll("-", any)),
    ...kept.flatMap(lookAlikes),
  ].join("|");
}

const any = "[^a-z0-9]";

/** Every other spelling of a name. */
function lookAlikes(name: string): readonly string[] {
  const words = name.split("-");
  return words.slice(1).map((_, at) =>
    words.reduce((text, word, index) => {
      if (index === 0) return word;
      const sign = index - 1 < at ? "-" : index - 1 === at ? "[^a-z0-9-]" : any;
      return `${text}${sign}${word}`;
    }, ""),
  );
}
