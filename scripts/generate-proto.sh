#!/bin/sh
# Makes src/proto (or FOLDER, where one is given) from proto. Needs no network; the same sources give the same bytes.
set -eu
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
out=${1:-$root/src/proto}
node=$(sh "$root/scripts/find-node.sh")
PATH="${node%/*}:$root/node_modules/.bin:$PATH"
export PATH

new=$(mktemp -d "${TMPDIR:-/tmp}/wayleave-proto.XXXXXX")
trap 'rm -rf "$new"' EXIT
# The file name's ending, since Node strips types itself; tsc rewrites it in what it emits.
plugin="{local: protoc-gen-es, out: $new, opt: [target=ts, import_extension=ts]}"
cd -- "$root/proto"
buf generate --template "{version: v2, plugins: [$plugin]}"
[ -n "$(find "$new" -name '*_pb.ts')" ] || { echo "wayleave: buf made nothing of proto/" >&2; exit 1; }
mkdir -p "$out"
cp -R "$new"/. "$out"
# Whatever no source makes any more.
(cd -- "$out" && find . -name '*_pb.ts') | while read -r file; do [ -f "$new/$file" ] || rm -- "$out/$file"; done
