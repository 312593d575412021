import type { CompiledTarget, Policy } from "../../policy/policy.ts";
import type { CheckedSettings } from "./settings.ts";

/**
 * A POSIX shell script that asks the running gateway what it must refuse, and, with a token, what it must let through.
 * Exit 0: all as wanted; 1: some probe failed; 2: it could not be run.
 */
export function renderProbes(settings: CheckedSettings, policy: Policy): string {
  return [head(settings.name), ...settings.targets.map((target) => targetProbes(target, policy)), tail].join("\n");
}

function head(gateway: string): string {
  return `#!/bin/sh
# Probes of gateway ${gateway}: what it must refuse, and what it must let through. Rendered; do not edit.
#
#   sh wayleave-probes.sh http://127.0.0.1:80
#
# WAYLEAVE_TOKEN   an access token; with it, paths that must pass are probed too
# WAYLEAVE_PATH    a path that this token may GET (default /)
# WAYLEAVE_HOST    host to use for targets whose hosts are templates
set -u
gateway=\${1:-}
case $gateway in
  http://*) port=80 ;;
  https://*) port=443 ;;
  *) echo "usage: wayleave-probes.sh http://HOST[:PORT]" >&2; exit 2 ;;
esac
command -v curl >/dev/null || { echo "wayleave-probes: curl is needed" >&2; exit 2; }
scheme=\${gateway%%://*}
authority=\${gateway#*://}
authority=\${authority%%/*}
case $authority in *:*) ;; *) authority=$authority:$port ;; esac
failed=0
token=

# status HOST PATH [curl arguments]: the status NGINX answers, 000 for none
status() {
  host=$1 path=$2
  shift 2
  # The token goes through standard input: arguments can be seen by other users.
  { [ -z "$token" ] || printf 'header = "Authorization: Bearer %s"\\n' "$token"; } | curl --config - --silent --output /dev/null --max-time 10 --path-as-is --write-out '%{http_code}' \\
    --connect-to "::$authority" "$@" "$scheme://$host$path"
}

# probe WANTED TARGET WHAT HOST PATH [curl arguments]
# refused: 400, 401 or 403; let-through: an answer that is none of these and no outage; hidden: 404
probe() {
  wanted=$1 target=$2 what=$3
  shift 3
  code=$(status "$@")
  verdict=FAILED
  case $wanted:$code in
    refused:40[013]) verdict=ok ;;
    hidden:404) verdict=ok ;;
    let-through:000 | let-through:40[013] | let-through:50[0234]) ;;
    let-through:*) verdict=ok ;;
  esac
  [ $verdict = ok ] || failed=$((failed + 1))
  printf '%-7s %-20s %-44s %s\\n' "$verdict" "$target" "$what" "$code ($wanted wanted)"
}
`;
}

const probePath = "/wayleave-probe";

/** Where nothing is refused yet (observed target, shared route), the same requests must get through instead. */
function targetProbes(target: CompiledTarget, policy: Policy): string {
  const unidentified = policy.unidentified(target.name, "GET", probePath);
  const observed = target.mode === "observe";
  const open = observed || unidentified.mode === "observe";
  const anonymous = open || unidentified.pass ? "let-through" : "refused";
  const invalid = open ? "let-through" : "refused";
  const wellKnown = target.hosts.find((host) => !host.includes("$"));
  const host = '"$host_of_target"';
  const probe = (wanted: string, what: string, path: string, ...rest: string[]) =>
    ["probe", wanted, quoted(target.name), quoted(what), host, quoted(path), ...rest].join(" ");
  const lines = [
    wellKnown === undefined
      ? "host_of_target=${WAYLEAVE_HOST:-unknown.invalid}"
      : `host_of_target=${quoted(wellKnown)}`,
    probe(anonymous, "no token", probePath),
    // A shared route may know tokens that Wayleave does not: nothing can be said of one there.
    ...(unidentified.pass ? [] : [probe(invalid, "a garbage token", probePath, "-H 'Authorization: Bearer garbage'")]),
    probe(anonymous, "spoofed identity headers", probePath, ...spoofs),
    probe(invalid, "an ambiguous path", `${probePath}/%2e%2e/x`, "-H 'Authorization: Bearer garbage'"),
    probe(
      "refused",
      "two Authorization headers",
      probePath,
      "-H 'Authorization: Bearer a' -H 'Authorization: Bearer b'",
    ),
    probe("hidden", "the question itself from outside", `/_wayleave/authz/${target.name}`),
  ];
  const allowed = [
    `  ${["probe let-through", quoted(target.name), quoted("a path the token may GET"), host, '"${WAYLEAVE_PATH:-/}"'].join(" ")}`,
    `  ${probe(observed ? "let-through" : "refused", "an ambiguous path with the token", `${probePath}//x`)}`,
  ];
  return [
    ...lines,
    'if [ -n "${WAYLEAVE_TOKEN:-}" ]; then',
    "  token=$WAYLEAVE_TOKEN",
    ...allowed,
    "  token=",
    "fi",
    "",
  ].join("\n");
}

const spoofs = [
  "-H 'X-Wayleave-Subject: spiffe://spoofed'",
  "-H 'X-Wayleave-Decision: allow'",
  "-H 'Txn-Token: spoofed'",
];

const tail = `if [ $failed -gt 0 ]; then
  echo "$failed probes failed" >&2
  exit 1
fi
`;

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
