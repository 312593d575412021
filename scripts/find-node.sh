#!/bin/sh
# Prints the Node to run Wayleave with: the one on PATH where it is new enough, else the one `make` put into
# .cache/node. NODE=22 or NODE=24 in the environment asks for that line from .cache/node (npm itself sets NODE to a
# path, which is ignored). Exits 1 with cause and fix when there is none.
set -eu
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P)

new_enough() { # VERSION, as v22.18.0
  version=${1#v}
  major=${version%%.*}
  rest=${version#*.}
  minor=${rest%%.*}
  case $major$minor in '' | *[!0-9]*) return 1 ;; esac
  [ "$major" -gt 22 ] || { [ "$major" -eq 22 ] && [ "$minor" -ge 18 ]; }
}

cached="$root/.cache/node/24/bin/node"
case ${NODE:-} in
  '' | */*)
    on_path=$(command -v node || true)
    found=$([ -z "$on_path" ] || node --version 2>/dev/null || true)
    if new_enough "$found"; then
      printf '%s\n' "$on_path"
      exit
    fi
    missing="Wayleave needs Node >= 22.18; PATH has ${found:-none}."
    fix='run "make setup", which fetches Node 24 from npm into .cache/node, or install Node 22.18 or newer.'
    ;;
  22 | 24)
    cached="$root/.cache/node/$NODE/bin/node"
    missing="NODE=$NODE asks for Node $NODE, and .cache/node/$NODE is not there."
    fix="run \"make setup NODE=$NODE\", which fetches it from npm, or leave NODE unset."
    ;;
  *)
    printf 'wayleave: NODE=%s is not a Node line this project is tested on.\n  fix: NODE=22, NODE=24, or leave it unset.\n' \
      "$NODE" >&2
    exit 1
    ;;
esac

if [ -x "$cached" ]; then
  printf '%s\n' "$cached"
  exit
fi
printf 'wayleave: %s\n  fix: %s\n' "$missing" "$fix" >&2
exit 1
