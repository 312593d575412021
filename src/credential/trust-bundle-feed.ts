import { hash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { asWayleaveError, WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";
import { writeDurably } from "./sealed-file.ts";
import { parseTrustBundle, type TrustBundle } from "./trust-bundle.ts";

/** One trust domain whose bundle is followed. */
export interface FollowedDomain {
  readonly trustDomain: string;
  /** Where it is served; absent: the bootstrap is all there is. */
  readonly url?: string;
  /** Document to begin with. */
  readonly bootstrap?: string;
  /** Fetches the bundle; `https_spiffe` authenticates the server by the bundle known so far. */
  fetch(url: string, known: TrustBundle | undefined): Promise<Response>;
}

export interface BundleFeedOptions {
  readonly domain: FollowedDomain;
  /** Folder that keeps the last good bundle. */
  readonly dir: string;
  readonly clock: Pick<Clock, "now">;
  /** Records `bundle.read`. Must not throw. */
  note(event: AuditEvent): void;
  onChange(): void;
}

/** The bundle of one foreign trust domain, as good as it is known. */
export interface BundleFeed {
  readonly trustDomain: string;
  /** The last good one; undefined before there was any. */
  current(): TrustBundle | undefined;
  /** What stood in the way of the last reading. */
  problem(): string | undefined;
  /** Reads it again where that is due; never rejects. */
  sweep(): Promise<void>;
}

const maxBytes = 1024 * 1024;
const minRefreshMs = 10_000;
const maxRefreshMs = 3_600_000;
const retryMs = 30_000;

const Kept = z.strictObject({ document: z.string(), bootstrap: z.string() });

/**
 * Follows a bundle. What was good stays until something better comes: a bundle that cannot be fetched or read, or whose
 * sequence went backwards or vanished, is refused, recorded once, and asked for again. What is kept on disk outlives a
 * restart; a bootstrap document that the operator changed since wins over it. Throws `bundle_invalid` for a bootstrap that
 * cannot be read.
 */
export async function openBundleFeed(options: BundleFeedOptions): Promise<BundleFeed> {
  const { trustDomain, bootstrap } = options.domain;
  const file = join(options.dir, `${trustDomain}.json`);
  const mark = bootstrap === undefined ? "" : hash("sha256", bootstrap);
  const kept = await readKept(file);
  const first = bootstrap === undefined ? undefined : parseTrustBundle(trustDomain, bootstrap);
  const known = kept?.bootstrap === mark ? tryParse(trustDomain, kept.document) : undefined;
  return follow(options, known ?? first, async (document) =>
    writeDurably(file, JSON.stringify({ document, bootstrap: mark } satisfies z.infer<typeof Kept>), 0o600),
  );
}

async function readKept(file: string): Promise<z.infer<typeof Kept> | undefined> {
  try {
    return Kept.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return undefined; // a first start, or a file that is damaged: the bootstrap or the endpoint says it again
  }
}

function tryParse(trustDomain: string, document: string): TrustBundle | undefined {
  try {
    return parseTrustBundle(trustDomain, document);
  } catch {
    return undefined;
  }
}

function follow(
  { domain, clock, note, onChange }: BundleFeedOptions,
  first: TrustBundle | undefined,
  keep: (document: string) => Promise<void>,
): BundleFeed {
  const { trustDomain, url } = domain;
  let current = first;
  let problem: string | undefined;
  let dueAt = 0;
  let reading: Promise<void> | undefined;

  const read = async (from: string): Promise<void> => {
    try {
      const next = parseTrustBundle(trustDomain, await text(trustDomain, () => domain.fetch(from, current)));
      refuseOlder(next, current);
      dueAt = clock.now() + Math.min(Math.max(next.refreshSeconds * 1000, minRefreshMs), maxRefreshMs);
      if (same(current, next) && problem === undefined) return;
      const changed = !same(current, next);
      problem = undefined;
      note(bundleRead(trustDomain, next.sequence));
      if (!changed) return;
      // A revocation in it must not wait for a disk; what is kept only saves the next start a question.
      current = next;
      onChange();
      await keep(JSON.stringify(next.document));
    } catch (error) {
      dueAt = clock.now() + retryMs;
      const { message } = asWayleaveError(error);
      if (message === problem) return;
      problem = message;
      note(bundleRead(trustDomain, current?.sequence, message));
    }
  };

  return {
    trustDomain,
    current: () => current,
    problem: () => problem,
    async sweep() {
      if (url === undefined || clock.now() < dueAt) return;
      reading ??= read(url).finally(() => {
        reading = undefined;
      });
      await reading;
    },
  };
}

function bundleRead(trustDomain: string, sequence: number | undefined, problem?: string): AuditEvent {
  return {
    kind: "bundle.read",
    data: {
      trust_domain: trustDomain,
      ...(sequence === undefined ? {} : { sequence }),
      ...(problem === undefined ? {} : { problem }),
    },
  };
}

function same(a: TrustBundle | undefined, b: TrustBundle): boolean {
  return a !== undefined && JSON.stringify(a.document) === JSON.stringify(b.document);
}

/** @see SPIFFE Trust Domain and Bundle §4.1.1 */
function refuseOlder(next: TrustBundle, current: TrustBundle | undefined): void {
  const { trustDomain } = next;
  if (current?.sequence === undefined) return;
  if (next.sequence === undefined)
    throw new WayleaveError(
      "bundle_invalid",
      `The trust bundle of ${trustDomain} has no sequence any more, and it had ${current.sequence}.`,
    );
  if (next.sequence < current.sequence) {
    throw new WayleaveError(
      "bundle_invalid",
      `The trust bundle of ${trustDomain} went backwards, from sequence ${current.sequence} to ${next.sequence}; if that is meant, put it into bundle_file.`,
    );
  }
}

/** The body of a 200, bounded. Whatever stands in the way is one error, whose cause is for the log only. */
async function text(trustDomain: string, fetchIt: () => Promise<Response>): Promise<string> {
  let response: Response;
  try {
    response = await fetchIt();
  } catch (cause) {
    throw unreachable(trustDomain, "does not answer, or not as the one it should be", cause);
  }
  if (response.status !== 200) {
    await response.body?.cancel().catch(() => undefined);
    throw unreachable(trustDomain, `answers HTTP ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body ?? []) {
      size += chunk.length;
      if (size > maxBytes) break;
      chunks.push(chunk);
    }
  } catch (cause) {
    throw unreachable(trustDomain, "broke off", cause);
  }
  if (size > maxBytes) throw unreachable(trustDomain, `sends more than ${maxBytes} bytes`);
  return Buffer.concat(chunks).toString("utf8");
}

function unreachable(trustDomain: string, problem: string, cause?: unknown): WayleaveError {
  return new WayleaveError("bundle_invalid", `The bundle endpoint of ${trustDomain} ${problem}; see its bundle_url.`, {
    cause,
  });
}
