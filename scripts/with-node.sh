#!/bin/sh
# with-node.sh COMMAND [ARGUMENT...]: runs a command with the project's Node and the project's own tools first in PATH.
set -eu
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
node=$(sh "$root/scripts/find-node.sh")
PATH="$root/node_modules/.bin:$PATH"
case $node in "$root"/*) PATH="${node%/*}:$PATH" ;; esac
export PATH
# Colour is for terminals; some tools colour a pipe too when CI is set.
[ -t 1 ] || export NO_COLOR=1
exec "$@"
