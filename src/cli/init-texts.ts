import type { InitPlan } from "./init-plan.ts";

/** `wayleave.yaml` of a first installation. */
export function configText(plan: InitPlan): string {
  const { issuer, trustDomain, listen, gitlabUrl, target, accessLog, caFile } = plan;
  return `# Wayleave. Every key: wayleave config schema, docs/reference/config.md. Check: wayleave config check
issuer: ${yaml(issuer)} # how jobs reach this broker; the \`aud\` of their id tokens
trust_domain: ${yaml(trustDomain)}
listen: { address: ${JSON.stringify(listen)} }
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
    access_log: ${JSON.stringify(accessLog)} # JSON, one line a request
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
export function pipelineText({ issuer, target, caFile }: InitPlan): string {
  return `job:
  id_tokens: { WAYLEAVE_ID_TOKEN: { aud: ${yaml(issuer)} } }
${caFile === undefined ? "" : "  variables: { SSL_CERT_FILE: $CI_SERVER_TLS_CA_FILE }  # your private CA\n"}  script:
    - wayleave exec --target ${target} -- sh -c 'curl -fsS "$WAYLEAVE_${target.toUpperCase().replaceAll("-", "_")}_URL/health"'
  after_script: [wayleave end]
`;
}

/** Where the rendered files belong in the reader's NGINX. */
export function nginxText({ host, target }: InitPlan, folder: string): string {
  return `http {
    include ${folder}/wayleave-http.conf;

    server {  # the one for ${host}
        include ${folder}/wayleave-server.conf;

        location / {
            include ${folder}/wayleave-location-${target}.conf;
            proxy_pass …;  # yours, with no path after the host
        }
    }
}
`;
}

/** Plain where YAML reads it as the same text, quoted where not. */
function yaml(text: string): string {
  return /^(https?:\/\/)?[A-Za-z][A-Za-z0-9_./-]*(:\d+)?(\/[A-Za-z0-9_./-]*)?$/.test(text) &&
    !/^(true|false|null|yes|no|on|off)$/i.test(text)
    ? text
    : JSON.stringify(text);
}
