import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import { isSecure } from "./target-address.ts";

/** True in a GitHub Actions job that may ask for identity tokens (`permissions: { id-token: write }`). */
export function isGithubJob(env: CommandIo["env"]): boolean {
  return Boolean(env.ACTIONS_ID_TOKEN_REQUEST_URL && env.ACTIONS_ID_TOKEN_REQUEST_TOKEN);
}

/** A fresh identity token of the job, for this audience. Rejects `issuer_unreachable` and `subject_token_invalid`. */
export async function githubToken(env: CommandIo["env"], audience: string, fetcher: typeof fetch): Promise<string> {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: address = "", ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret } = env;
  if (!URL.canParse(address) || !isSecure(new URL(address))) {
    throw new WayleaveError(
      "invalid_request",
      "ACTIONS_ID_TOKEN_REQUEST_URL is no https address; GitHub sets it, leave it.",
    );
  }
  const url = new URL(address);
  url.searchParams.set("audience", audience);
  const response = await fetcher(url, {
    redirect: "manual",
    headers: { authorization: `Bearer ${secret}`, accept: "application/json" },
    signal: AbortSignal.timeout(30_000),
  }).catch(() => {
    // No cause is kept: an error about a header can quote the header.
    throw new WayleaveError("issuer_unreachable", "GitHub's token service did not answer; run the job again.");
  });
  const body = (await response.json().catch(() => undefined)) as { value?: unknown } | undefined;
  if (response.status === 200 && typeof body?.value === "string") return body.value;
  const code = response.status >= 500 || response.status === 429 ? "issuer_unreachable" : "subject_token_invalid";
  throw new WayleaveError(
    code,
    `GitHub gave no identity token (HTTP ${response.status}); check the job's permissions.`,
  );
}
