#!/bin/sh
# Runs the tests that boot machines and the examples, and prints a plain summary.
#
#   scripts/e2e.sh
#
# Exit status: 0 passed, 1 the product failed, 2 the harness failed, 3 this host lacks something.
set -eu
cd "$(dirname "$0")/.."
export SPICELANE_LANES=require
worst=0
summary=
run() { # run NAME ARGS OF go test...
    name=$1
    began=$(date +%s)
    status=0
    scripts/test.sh "$@" || status=$?
    case $status in
        0) word="PASS" ;;
        1) word="FAIL: the product failed" ;;
        3) word="FAIL: this host lacks something, see: bin/spicelane doctor" ;;
        *) word="FAIL: the harness failed" status=2 ;;
    esac
    summary="$summary$name: $word, $(($(date +%s) - began)) s, artifacts/$name.html
"
    # A failure of the product outweighs one of the harness, and that outweighs one of the host.
    if [ "$worst" -eq 0 ] || { [ "$status" -ne 0 ] && [ "$status" -lt "$worst" ]; }; then
        worst=$status
    fi
}
timeout=15m
[ "${SPICELANE_MATRIX:-}" != full ] || timeout=60m # it takes 20 minutes on two cores without KVM
run lanes -count 1 -timeout "$timeout" ./harness/... ./cmd/...
run examples -C examples -count 1 -timeout 10m ./...
printf '\n%s' "$summary"
exit "$worst"
