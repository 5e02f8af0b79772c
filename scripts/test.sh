#!/usr/bin/env bash
# Runs go test ARGS and writes the results to artifacts/: NAME.json is the stream, NAME.xml JUnit,
# NAME.md a summary, and NAME.html a page. Prints a line for each package, and for each failure what
# failed and whose fault it was.
#
#   scripts/test.sh NAME ARGS...      needs bin/spicelane (make build)
#
# Exit status: 0 passed, 1 the product failed, 2 the harness failed, 3 this host lacks something.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
name=$1
shift
dir=$PWD/artifacts
mkdir -p "$dir"
go test "$@" -json -artifacts -outputdir "$dir" |
    tee "$dir/$name.json" |
    bin/spicelane report --title "$name" --junit "$dir/$name.xml" --summary "$dir/$name.md" --html "$dir/$name.html" -
