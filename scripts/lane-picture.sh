#!/bin/sh
# Makes docs/lane.png: a screenshot of the page of a lane that failed, taken by the browser test of
# that page.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
SPICELANE_LANES=require go test -count 1 -artifacts -outputdir "$dir" -run TestThePageOfALaneThatFailed ./harness/replay
cp "$dir"/_artifacts/*/failed.png docs/lane.png
