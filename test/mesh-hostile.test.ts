import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Served } from "../demo/upstream.ts";
import type { WorldOptions } from "../demo/world.ts";
import { vocabulary } from "../src/ci/providers.ts";
import { noCounts } from "../src/core/decision.ts";
import { noFacts } from "../src/core/fact.ts";
import type { JobIdentity } from "../src/core/identity.ts";
import { compile } from "../src/policy/compile.ts";
import type { Policy } from "../src/policy/policy.ts";
import type { HostileRequest } from "./hostile-request.ts";
import { hostileRequests } from "./hostile-requests.ts";
import { sendTlsBytes } from "./mesh-bytes.ts";
import { edgeOf, type MeshJob, type MeshLab, startMeshLab } from "./mesh-lab.ts";
import { askOperator } from "./operator.ts";
import { upstreamReadings } from "./upstream-readings.ts";

/** The hostile corpus through two gateways in a row, and at the inner one by somebody who broke into the outer one. */
const policyText = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read: { for: [shop], allow: { billing: ["GET /v1/**"] } }
`;
const host = "billing.internal";
const quick = "keepalive_timeout 200ms; client_header_timeout 500ms; client_body_timeout 500ms;";
const loosened = `${quick} underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;`;

/**
 * What Envoy itself makes harmless before anybody decides: it forwards no Connection header and honours none, strips what
 * overrides a request, and writes the request line anew. The upstream then gets a plain request, which is decided as such.
 */
const madeHarmless = (name: string) =>
  /^(hop-by-hop|override twice): /.test(name) ||
  ['absolute form: "http://x@billing.internal/v1/a"', 'request line: "GET\\t/v1/a\\tHTTP/1.1"'].includes(name);

/** RFC 9112 §3.2 knows no fragment; Envoy refuses one anywhere. */
const refusedByEnvoy = new Set(['plain path: "/v1/a?b?c#d"']);

/** A line that Envoy folds into the value of `X-A`, as it may (RFC 9112 §5.2), is no header. */
const notFolded = (text: string, at: number, all: readonly string[]): boolean =>
  at % 2 === 0 || all[at - 1] !== "x-a" || /[\r\n]/.test(text);

describe.each<{ readonly name: string; readonly mesh: WorldOptions["mesh"] & object; readonly nginx: string }>([
  { name: "NGINX → Envoy that decides", mesh: {}, nginx: quick },
  { name: "NGINX, loosened → Envoy that asks", mesh: { mode: "call_out" }, nginx: loosened },
])("$name", ({ mesh, nginx }) => {
  let folder: string;
  let lab: MeshLab;
  let job: MeshJob;
  let identity: JobIdentity;
  let policy: Policy;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wayleave-hostile-"));
    writeFileSync(join(folder, "policy.yaml"), policyText);
    lab = await startMeshLab({ policy: join(folder, "policy.yaml"), targets: ["billing"], mesh, nginx });
    job = await lab.openJob();
    const { body } = await askOperator<{ identity: JobIdentity }>(lab.world, "GET", `/v1/sessions/${job.session}`);
    identity = body.identity;
    policy = compile(lab.world.policy, vocabulary);
  });
  afterAll(async () => {
    await lab?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each(hostileRequests)("in a row: $name", async (request) => {
    const { bytes, authorization, expected } = request;
    const bearer = authorization?.replace("good", job.token);
    const sent = bytes.replaceAll("Bearer good", `Bearer ${job.token}`);
    const served = await serve(() => sendTlsBytes(edgeOf(lab.world, host), sent));
    expect(wrongs(served, bearer === `Bearer ${job.token}`)).toEqual([]);
    if (expected === "served" && !refusedByEnvoy.has(request.name)) expect(served).toHaveLength(1);
    if (expected === "refused") expect(served).toEqual([]);
  });

  let minted = { assertion: "", at: Number.NEGATIVE_INFINITY };
  /** One for GET /v1/a that has some of its 30 s left. */
  async function assertion(): Promise<string> {
    if (performance.now() - minted.at > 10_000) {
      const asked = [`GET /v1/a HTTP/1.1`, `Host: ${host}`, `Authorization: Bearer ${job.token}`, "Connection: close"];
      const [served] = await serve(() => sendTlsBytes(edgeOf(lab.world, host), `${asked.join("\r\n")}\r\n\r\n`));
      minted = { assertion: String(served?.headers["txn-token"]), at: performance.now() };
    }
    return minted.assertion;
  }

  test.each(hostileRequests.map(asInner))("past the edge: $name", async ({ name, bytes, expected, authorization }) => {
    const good = await assertion();
    const served = await serve(() =>
      sendTlsBytes(lab.sidecar, bytes.replaceAll("Txn-Token: good", `Txn-Token: ${good}`)),
    );
    expect(wrongs(served, authorization !== undefined, notTheEdges)).toEqual([]);
    // What is asked about is bound to its own path.
    const open = mesh.mode === undefined || bytes.startsWith("GET /v1/a ");
    if (expected === "served" && open && !refusedByEnvoy.has(name)) expect(served).toHaveLength(1);
    if (expected === "refused" && !madeHarmless(name)) expect(served).toEqual([]);
  });

  /** How many of what the upstream served were looked at: what comes after its answer is the next request's to explain. */
  let seen = 0;
  async function serve(send: () => Promise<unknown>): Promise<readonly Served[]> {
    await send();
    const served = lab.world.upstream.served.slice(seen);
    seen += served.length;
    return served;
  }

  /** What the upstream did that the decision function would have refused, or was told by the client. */
  function wrongs(all: readonly Served[], identified: boolean, believed: RegExp = /./): string[] {
    return all.flatMap((served) => {
      const told = JSON.stringify(served.rawHeaders.filter(notFolded));
      const spoofed = told.includes("spoofed") ? [`a client's identity header reached it: ${told}`] : [];
      const leaked = told.includes(job.token) ? ["the token reached it"] : [];
      const readings = upstreamReadings(served).filter(({ how }) => believed.test(how));
      const refused = readings.flatMap(({ how, ...operation }) => {
        const reason = identified ? refuses(operation) : "no_credential";
        return reason === undefined ? [] : [`${how}, it served ${JSON.stringify(operation)}: ${reason}`];
      });
      return [...spoofed, ...leaked, ...refused];
    });
  }

  function refuses(operation: Omit<ReturnType<typeof upstreamReadings>[number], "how">): string | undefined {
    const now = Date.now();
    const view = { id: job.session, identity, state: "active", openedAt: now, hardEndAt: now + 1000 } as const;
    const request = { session: view, narrowing: {}, target: "billing", operation, facts: noFacts, now };
    const decision = policy.decide(request, noCounts);
    return decision.effect === "allow" ? undefined : decision.reason;
  }
});

/** The name a client asked the edge for is the edge's to tell. */
const notTheEdges = /^(?!with x-forwarded-host believed)/;

/** The same request as an inner hop knows callers: by an assertion, never by a token. */
function asInner(request: HostileRequest): HostileRequest {
  const bytes = request.bytes.replaceAll("Authorization: Bearer good", "Txn-Token: good");
  const carried = /\r\nTxn-Token: good\r\n/.test(bytes);
  // What was wrong with the credential may be right with this one.
  const expected = request.name.startsWith("credential: ") && carried ? "either" : request.expected;
  return { name: request.name, bytes, expected, ...(carried ? { authorization: "an assertion" } : {}) };
}
