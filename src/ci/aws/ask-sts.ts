import { awsProofBody } from "../../core/aws-proof.ts";
import { WayleaveError } from "../../core/errors.ts";
import { readBounded } from "../read-bounded.ts";

/** Who signed, as STS says it. */
export interface StsCaller {
  readonly arn: string;
  readonly userId: string;
  readonly account: string;
}

const maxBodyBytes = 16 * 1024;

/**
 * Sends one `GetCallerIdentity` with these signed headers and reads the answer. Redirects are not followed. Rejects
 * `subject_token_invalid` where STS refuses the signature, and `issuer_unreachable` where it gives no usable answer.
 */
export async function askSts(
  { fetch, timeoutMs }: { readonly fetch: typeof globalThis.fetch; readonly timeoutMs: number },
  endpoint: string,
  headers: Readonly<Record<string, string>>,
): Promise<StsCaller> {
  // The connection makes the host header, from the same address.
  const { host: _, ...sent } = headers;
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${endpoint}/`, {
      method: "POST",
      redirect: "manual",
      headers: { ...sent, accept: "text/xml" },
      body: awsProofBody,
      signal: AbortSignal.timeout(timeoutMs),
    });
    text = await readBounded(response, maxBodyBytes);
  } catch {
    throw unreachable("gave no whole answer"); // no cause is kept: an error about a header can quote the header
  }
  const { status } = response;
  if (status === 400 || status === 401 || status === 403) {
    throw new WayleaveError(
      "subject_token_invalid",
      `STS refused the signed request (${status}${errorCode(text)}): sign exactly the GetCallerIdentity of the guide, for this broker's audience.`,
    );
  }
  if (status !== 200 || !/^(text|application)\/xml\b/.test(response.headers.get("content-type") ?? "")) {
    throw unreachable(`answered ${status} without XML`);
  }
  return parseCaller(text);
}

const element = (name: string, content: string) => new RegExp(`<${name}>(${content})</${name}>`, "g");
const envelope =
  /^(?:<\?xml [^<>]{1,100}\?>)?\s*<GetCallerIdentityResponse xmlns="https:\/\/sts\.amazonaws\.com\/doc\/2011-06-15\/">\s*<GetCallerIdentityResult>([\s\S]{1,4096}?)<\/GetCallerIdentityResult>\s*(?:<ResponseMetadata>\s*<RequestId>[\w-]{1,128}<\/RequestId>\s*<\/ResponseMetadata>\s*)?<\/GetCallerIdentityResponse>\s*$/;

/** The answer's three elements, each once, and nothing beside them. */
function parseCaller(xml: string): StsCaller {
  const [, inner = ""] = envelope.exec(xml) ?? [];
  const only = (name: string, content: string) => {
    const [first, ...others] = inner.matchAll(element(name, content));
    return others.length === 0 ? first?.[1] : undefined;
  };
  const arn = only("Arn", "[^<>&\\s]{1,2048}");
  const userId = only("UserId", "[\\w+=,.@:-]{1,256}");
  const account = only("Account", "\\d{12}");
  const rest = inner.replaceAll(/<(Arn|UserId|Account)>[^<>]*<\/\1>/g, "").trim();
  if (arn === undefined || userId === undefined || account === undefined || rest !== "") {
    throw unreachable("answered something that is no GetCallerIdentity response");
  }
  return { arn, userId, account };
}

/** `: SignatureDoesNotMatch` where the answer has such a code; nothing else of it is shown. */
function errorCode(xml: string): string {
  const code = /<Code>([A-Za-z]{1,64})<\/Code>/.exec(xml)?.[1];
  return code === undefined ? "" : `: ${code}`;
}

function unreachable(problem: string): WayleaveError {
  return new WayleaveError("issuer_unreachable", `STS ${problem}. Check issuers[].aws.sts and the network.`);
}
