#!/bin/sh
# Measures lanes (.ci/bench.yaml), stores the figures in an archive, and writes their trend over the
# commits: a page and a table in artifacts/bench-trend, and the table in the job's summary.
#
#   scripts/ci-bench.sh ARCHIVE      a directory that outlives the job; needs bin/spicelane (make build)
set -eu
cd "$(dirname "$0")/.."
[ $# -eq 1 ] || { echo "usage: scripts/ci-bench.sh ARCHIVE" >&2; exit 2; }
PATH=$PWD/bin:$PATH
SPICELANE_ARCHIVE=$1
export PATH SPICELANE_ARCHIVE
spicelane run .ci/bench.yaml --dir artifacts/bench
spicelane archive add artifacts/bench --identity spicelane="$(git rev-parse HEAD)" --label branch=nightly
spicelane archive prune --runs 200
mkdir -p artifacts/bench-trend
spicelane archive trend branch=nightly --by spicelane --format html -o artifacts/bench-trend/trend.html
spicelane archive trend branch=nightly --by spicelane --format markdown -o artifacts/bench-trend/trend.md
cat artifacts/bench-trend/trend.md >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
