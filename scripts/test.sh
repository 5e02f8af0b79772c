#!/usr/bin/env bash
# go test ARGS, and what came of it in artifacts/: NAME.json is the stream, NAME.xml JUnit, NAME.md a summary, NAME.html a page. Prints what
# failed, whose fault it was, and a line a package.
#
#   scripts/test.sh NAME ARGS...      needs bin/spicelane (make build)
#
# Exit status: 0 passed, 1 the product failed, 2 the harness, 3 this host lacks something.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
name=$1
shift
dir=$PWD/artifacts
mkdir -p "$dir"
go test "$@" -json -artifacts -outputdir "$dir" |
    tee "$dir/$name.json" |
    bin/spicelane report --title "$name" --junit "$dir/$name.xml" --summary "$dir/$name.md" --html "$dir/$name.html" -
