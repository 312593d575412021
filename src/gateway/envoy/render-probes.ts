import type { CheckedSettings, FrontedTarget } from "./settings.ts";

/**
 * A POSIX shell script that asks the running gateway what it must refuse, and, with a token, what it must let through.
 * Exit 0: all as wanted; 1: some probe failed; 2: it could not be run.
 */
export function renderProbes(settings: CheckedSettings): string {
  return [head(settings), ...settings.targets.map((target) => targetProbes(settings, target)), tail].join("\n");
}

function head({ name, inner }: CheckedSettings): string {
  const certificate = inner
    ? `
# WAYLEAVE_CERT    PEM file with a certificate and key that the gateway takes: it is behind others`
    : "";
  const client = inner ? ' ${WAYLEAVE_CERT:+--cert "$WAYLEAVE_CERT" --insecure}' : "";
  const credential = inner ? "Txn-Token: %s" : "Authorization: Bearer %s";
  return `#!/bin/sh
# Probes of gateway ${name}: what it must refuse, and what it must let through. Rendered; do not edit.
#
#   sh wayleave-probes.sh http://127.0.0.1:10000
#
# WAYLEAVE_TOKEN   ${inner ? "an assertion" : "an access token"}; with it, paths that must pass are probed too
# WAYLEAVE_PATH    a path that this token may GET (default /)
# WAYLEAVE_HOST    host to use for targets whose hosts are templates${certificate}
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

# status HOST PATH [curl arguments]: the status Envoy answers, 000 for none
status() {
  host=$1 path=$2
  shift 2
  # The token goes through standard input: arguments can be seen by other users.
  { [ -z "$token" ] || printf 'header = "${credential}"\\n' "$token"; } | curl --config -${client} --silent --output /dev/null --max-time 10 --path-as-is --write-out '%{http_code}' \\
    --connect-to "::$authority" "$@" "$scheme://$host$path"
}

# probe WANTED TARGET WHAT HOST PATH [curl arguments]
# refused: 400, 401 or 403; let-through: an answer that is none of these and no outage; hidden: 404, or refused
probe() {
  wanted=$1 target=$2 what=$3
  shift 3
  code=$(status "$@")
  verdict=FAILED
  case $wanted:$code in
    refused:40[013]) verdict=ok ;;
    hidden:40[0134]) verdict=ok ;;
    let-through:000 | let-through:40[013] | let-through:50[0234]) ;;
    let-through:*) verdict=ok ;;
  esac
  [ $verdict = ok ] || failed=$((failed + 1))
  printf '%-7s %-20s %-44s %s\\n' "$verdict" "$target" "$what" "$code ($wanted wanted)"
}
`;
}

const probePath = "/wayleave-probe";

/** Where nothing is refused yet the same requests must get through instead; about a shared route nothing can be said. */
function targetProbes({ inner }: CheckedSettings, { name, model }: FrontedTarget): string {
  const wellKnown =
    model.hosts.find((host) => !host.includes("$")) ?? (model.kind === "mesh" ? `${name}.invalid` : undefined);
  const wanted = model.mode === "observe" ? "let-through" : "refused";
  const probe = (expected: string, what: string, path: string, ...rest: string[]) =>
    ["probe", expected, quoted(name), quoted(what), '"$host_of_target"', path, ...rest].join(" ");
  const credential = inner ? "Txn-Token:" : "Authorization: Bearer";
  const garbage = `-H ${quoted(`${credential} garbage`)}`;
  const open = model.unidentified.length > 0 || model.observe.length > 0 || (model.enforce ?? []).length > 0;
  return [
    wellKnown === undefined
      ? "host_of_target=${WAYLEAVE_HOST:-unknown.invalid}"
      : `host_of_target=${quoted(wellKnown)}`,
    ...(open
      ? []
      : [
          probe(wanted, "no token", probePath),
          probe(wanted, "a garbage token", probePath, garbage),
          probe(wanted, "a token that is none", probePath, `-H ${quoted(`${credential} a.b.c`)}`),
          probe(wanted, "spoofed identity headers", probePath, ...spoofs(inner)),
        ]),
    probe(wanted, "an ambiguous path", `${probePath}/%2e%2e/x`, garbage),
    probe(wanted, "two credentials", probePath, garbage, garbage),
    ...(wellKnown === undefined ? [] : [probe("hidden", "a host of nobody", "/", "-H 'Host: wayleave-probe.invalid'")]),
    'if [ -n "${WAYLEAVE_TOKEN:-}" ]; then',
    "  token=$WAYLEAVE_TOKEN",
    `  ${probe("let-through", "a path the token may GET", '"${WAYLEAVE_PATH:-/}"')}`,
    `  ${probe(wanted, "an ambiguous path with the token", `${probePath}//x`)}`,
    "  token=",
    "fi",
    "",
  ].join("\n");
}

const spoofs = (inner: boolean) => [
  "-H 'X-Wayleave-Subject: spiffe://spoofed'",
  "-H 'X-Wayleave-Decision: allow'",
  ...(inner ? [] : ["-H 'Txn-Token: spoofed'"]),
];

const tail = `if [ $failed -gt 0 ]; then
  echo "$failed probes failed" >&2
  exit 1
fi
`;

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
