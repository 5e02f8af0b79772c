#!/bin/sh
# Builds the program for other systems and processors, and vets all packages with their tests. Runs nothing of it.
#
#   scripts/cross.sh GOOS/GOARCH...
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: scripts/cross.sh GOOS/GOARCH..." >&2; exit 2; }
export CGO_ENABLED=0
for platform; do
    GOOS=${platform%/*} GOARCH=${platform#*/}
    export GOOS GOARCH
    go build -o /dev/null ./cmd/spicelane
    go vet ./...
    (cd examples && go vet ./...)
    echo "$platform: built and vetted"
done
