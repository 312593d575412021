import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Job } from "../demo/gitlab/types.ts";
import type { Mesh } from "../demo/mesh.ts";
import { startGitlabCi } from "../demo/story-gitlab.ts";
import { type DemoWorld, startWorld, type WorldOptions } from "../demo/world.ts";
import { type Certificate, call, type MeshAnswer, type MeshCall, type Place } from "./mesh-calls.ts";

type GitlabCi = Awaited<ReturnType<typeof startGitlabCi>>;

/** A running job and what it holds. */
export interface MeshJob {
  readonly job: Job;
  readonly session: string;
  readonly token: string;
  readonly refreshToken: string;
}

/** Job → NGINX → mutual TLS → Envoy → upstream, all real, and every place somebody could ask at. */
export interface MeshLab {
  readonly world: DemoWorld;
  readonly mesh: Mesh;
  readonly ci: GitlabCi;
  /** A merge request's job of acme/shop with an open session. */
  openJob(): Promise<MeshJob>;
  /** At NGINX, as the job. */
  atEdge(token: string, asked: MeshCall): Promise<MeshAnswer>;
  /** At the sidecar, past NGINX; with the edge's own certificate unless said. Rejects where the handshake fails. */
  atSidecar(assertion: string, asked: MeshCall & { readonly as?: Certificate | "nobody" }): Promise<MeshAnswer>;
  /** The assertion that the upstream was shown for a request that was served. */
  assertionFor(token: string, path: string, method?: string): Promise<string>;
  readonly edgeCertificate: Certificate;
  /** The sidecar, and what proves the edge to it. */
  readonly sidecar: Place;
  close(): Promise<void>;
}

export type MeshLabOptions = Omit<WorldOptions, "directory" | "ci">;

/** A world with a CI in a folder of its own; it has no mesh unless it is asked for one. */
export async function startMeshWorld(options: MeshLabOptions): Promise<Pick<MeshLab, "world" | "ci" | "close">> {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-mesh-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  let started: GitlabCi | undefined;
  const world = await startWorld({
    ...options,
    directory: join(directory, "world"),
    ci: async (brokerUrl, ca) => {
      started = await startGitlabCi(brokerUrl, ca);
      return started.part;
    },
  }).catch(async (error: unknown) => {
    await started?.gitlab.close();
    remove();
    throw error;
  });
  if (started === undefined) throw new TypeError("the world has a CI");
  const ci = started;
  const close = async () => {
    await world.close();
    await ci.gitlab.close();
    remove();
  };
  return { world, ci, close };
}

export async function startMeshLab(options: MeshLabOptions = {}): Promise<MeshLab> {
  const { world, ci, close } = await startMeshWorld({ mesh: {}, ...options });
  const { mesh } = world;
  if (mesh === undefined) throw new TypeError("the world has a mesh");
  const folder = join(world.directory, "nginx");
  const edgeCertificate = { cert: readFileSync(join(folder, "svid.pem")), key: readFileSync(join(folder, "svid.key")) };
  const { listen, name } = mesh.sidecar;
  const sidecar = { port: listen.port, tls: { ca: readFileSync(join(folder, "bundle.pem")), servername: name } };
  const lab: MeshLab = {
    world,
    mesh,
    ci,
    edgeCertificate,
    sidecar: { ...sidecar, tls: { ...sidecar.tls, ...edgeCertificate } },
    openJob: () => openJob(world, ci),
    atEdge: (token, asked) => call(edgeOf(world), withHeaders(asked, { authorization: `Bearer ${token}` })),
    atSidecar: (assertion, { as = edgeCertificate, ...asked }) =>
      call(
        { ...sidecar, tls: { ...sidecar.tls, ...(as === "nobody" ? {} : as) } },
        withHeaders(asked, assertion === "" ? {} : { "txn-token": assertion }),
      ),
    async assertionFor(token, path, method = "GET") {
      const { status, body } = await lab.atEdge(token, { path, method });
      if (status >= 300) throw new Error(`the edge answered ${status}: ${body}`);
      return String(world.upstream.served.findLast(({ url }) => url === path)?.headers["txn-token"]);
    },
    close,
  };
  return lab;
}

/** A host at NGINX; the billing API where none is named. */
export function edgeOf(world: DemoWorld, servername = "billing.localhost"): Place {
  return { port: Number(new URL(world.edgeUrl(servername)).port), tls: { ca: world.ca, servername } };
}

function withHeaders(asked: MeshCall, headers: Readonly<Record<string, string>>): MeshCall {
  return { ...asked, headers: { ...headers, ...asked.headers } };
}

export async function openJob(world: DemoWorld, { gitlab, shop, change, dana }: GitlabCi): Promise<MeshJob> {
  const source = { source: "merge_request_event", mergeRequest: change } as const;
  const [job] = gitlab.startPipeline(shop, { ...source, user: dana, jobs: ["release"] }).jobs;
  if (job === undefined) throw new TypeError("the pipeline has a job");
  gitlab.runJob(job);
  const { status, body } = await world.client.exchange(await gitlab.idToken(job, { aud: world.config.issuer }));
  if (status !== 200) throw new Error(`the exchange answered ${status}: ${JSON.stringify(body)}`);
  const { session_id, access_token, refresh_token } = body;
  return { job, session: String(session_id), token: String(access_token), refreshToken: String(refresh_token) };
}
