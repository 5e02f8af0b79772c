#!/bin/sh
# Builds the program for other systems and processors, and vets all packages and their tests. Does
# not run them.
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
