#!/bin/sh
# Runs every fuzz test of the module for a while, one after the other.
#
#   scripts/fuzz.sh [TIME]      the time for each test; default 30s
#
# go test stores a failing input in the package's testdata/fuzz: commit it with the fix. A copy is
# in artifacts/fuzz.
set -eu
cd "$(dirname "$0")/.."
time=${1:-30s}
failed=

packages=$(go list ./...)
for package in $packages; do
    list=$(go test -list '^Fuzz' "$package") || { # it does not build
        printf '%s\n' "$list" >&2
        failed="$failed $package"
        continue
    }
    for test in $(printf '%s\n' "$list" | grep '^Fuzz' || true); do
        echo "== $package $test"
        # Limited, because minimising an interesting input of some kB takes longer than finding it.
        go test -run '^$' -fuzz "^$test\$" -fuzztime "$time" -fuzzminimizetime 1s "$package" || failed="$failed $package.$test"
    done
done
if [ -n "$failed" ]; then
    mkdir -p artifacts/fuzz
    git ls-files -z --others --exclude-standard -- '*testdata/fuzz/*' | xargs -0 -r cp --parents -t artifacts/fuzz
    echo "fuzz: failed:$failed" >&2
    exit 1
fi
