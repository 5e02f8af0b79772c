#!/bin/sh
# Makes docs/lane.png: the page of a lane that failed, as the browser test of such a page sees it.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
SPICELANE_LANES=require go test -count 1 -artifacts -outputdir "$dir" -run TestThePageOfALaneThatFailed ./harness/replay
cp "$dir"/_artifacts/*/failed.png docs/lane.png
