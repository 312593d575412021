#!/bin/sh
# step.sh NAME WHAT COMMAND [ARGUMENT...]: runs one check quietly and prints one line; what it printed is shown if it fails.
set -eu
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/progress.sh"
name=$1
what=$2
shift 2

log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
begin "$name" "$what"
code=0
sh "$root/scripts/with-node.sh" "$@" >"$log" 2>&1 </dev/null || code=$?
if [ "$code" -ne 0 ]; then
  end "$what: failed"
  cat -- "$log"
  exit "$code"
fi
end "$what"
