import type { InitPlan } from "./init-plan.ts";

/** `wayleave.yaml` of a first installation. */
export function configText(plan: InitPlan): string {
  const { issuer, trustDomain, gitlabUrl, target, caFile } = plan;
  return `# Wayleave. Every key: wayleave config schema, docs/reference/config.md. Check: wayleave config check
issuer: ${yaml(issuer)} # how jobs reach this broker; the \`aud\` of their id tokens
trust_domain: ${yaml(trustDomain)}
listen: { address: "${listenAddress(issuer)}" }
data: ./data
policy: ./policy
keys: { encryption_key_file: ./secrets/encryption.key }
issuers:
  - name: gitlab
    type: gitlab
    url: ${yaml(gitlabUrl)}
${caFile === undefined ? "" : `    ca_file: ${yaml(caFile)}\n`}    # For conditions on merge requests, and to notice a job's end at once:
    # api: { token_file: ./secrets/gitlab-api.token } # read_api
    # webhooks:
    #   - { name: jobs, projects: [${yaml(plan.project)}], signing_token_file: ./secrets/webhook.token }
gateways:
  - name: edge-1
    kind: nginx
    targets: [${target}]
    secret_file: ./secrets/edge-1.secret
`;
}

/** A policy that observes: it records what it would refuse, and refuses nothing. */
export function policyText({ host, target, project }: InitPlan): string {
  return `# Check: wayleave policy check. What one job may do: wayleave policy explain --as project=${project}
version: 1
mode: observe # records what would be refused; \`enforce\` refuses it
targets:
  ${target}: { http: { hosts: [${yaml(host)}] } }
who:
  project: { gitlab: { project: ${yaml(project)} } }
roles:
  read-${target}:
    for: [project]
    allow:
      ${target}: [GET /**, HEAD /**]
tests:
  - name: jobs of the project may read and not write
    as: { gitlab: { project: ${yaml(project)} } }
    can: [GET ${target} /health]
    cannot: [POST ${target} /health]
`;
}

/** What the reader adds to their pipeline. */
export function pipelineText({ issuer, target, host }: InitPlan): string {
  return `  job:
    id_tokens: { WAYLEAVE_ID_TOKEN: { aud: ${yaml(issuer)} } }
    script:
      - wayleave exec --target ${target} -- sh -c 'curl -fsS "$WAYLEAVE_${target.toUpperCase().replaceAll("-", "_")}_URL/health"' # ${host}
    after_script: [wayleave end]
`;
}

/** Plain where YAML reads it as the same text, quoted where not. */
function yaml(text: string): string {
  return /^[A-Za-z][A-Za-z0-9_./-]*$/.test(text) && !/^(true|false|null|yes|no|on|off)$/i.test(text)
    ? text
    : JSON.stringify(text);
}

/** The loopback address a local issuer URL names; the default one for a broker that a proxy fronts. */
function listenAddress(issuer: string): string {
  const { protocol, port } = new URL(issuer);
  return `127.0.0.1:${protocol === "http:" && port !== "" ? port : "8700"}`;
}
