#!/bin/sh
# Runs make hosts as root with this user's Go, and adds its table to the job's summary.
set -eu
cd "$(dirname "$0")/.."
status=0
sudo -n env "PATH=$PATH" "GOPROXY=$(go env GOPROXY)" make hosts || status=$?
cat artifacts/hosts/table.md >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
exit $status
