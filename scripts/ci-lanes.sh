#!/bin/sh
# What CI of another repository runs: a lane, or that repository's own tests with lanes, and what they leave in one
# directory. GitHub, GitLab and Jenkins call this same script.
#
#   SPICELANE_CI_DIR       where the evidence goes; default: spicelane-evidence
#   SPICELANE_CI_COMMAND   a command of your own, such as: go test -artifacts -outputdir "$SPICELANE_CI_DIR" ./...
#                          bin/spicelane is in its PATH; what it leaves in $SPICELANE_CI_DIR is evidence
#   SPICELANE_CI_PROXY     the command line of your proxy, as for: spicelane up --proxy
#   SPICELANE_CI_CLIENT    the command line of your client, as for: spicelane up --client
#   SPICELANE_CI_IMAGE     your guest's image, or its description, as for: spicelane up --image or --fixture
#
# Without a command, one lane is brought up with these parts, and checked by: spicelane smoke. Exit status: 0 passed,
# 1 the product failed, 2 the harness, 3 this host lacks something; with a command, the command's.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
dir=${SPICELANE_CI_DIR:-spicelane-evidence}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
export SPICELANE_CI_DIR="$dir"

"$top/scripts/setup.sh" --lanes
make --no-print-directory -s -C "$top" build
PATH=$top/bin:$PATH
export PATH
spicelane doctor >"$dir/doctor.txt" || { status=$?; cat "$dir/doctor.txt" >&2; exit $status; }

if [ -n "${SPICELANE_CI_COMMAND-}" ]; then
    export SPICELANE_LANES="${SPICELANE_LANES:-require}"
    sh -c "$SPICELANE_CI_COMMAND"
    exit
fi

set --
[ -z "${SPICELANE_CI_PROXY-}" ] || set -- "$@" --proxy "$SPICELANE_CI_PROXY"
[ -z "${SPICELANE_CI_CLIENT-}" ] || set -- "$@" --client "$SPICELANE_CI_CLIENT"
case ${SPICELANE_CI_IMAGE-} in
    "") ;;
    *.yaml | *.yml) set -- "$@" --fixture "$SPICELANE_CI_IMAGE" ;;
    *) set -- "$@" --image "$SPICELANE_CI_IMAGE" ;;
esac
lane=ci-$$
trap 'spicelane down "$lane" >/dev/null 2>&1 || true' EXIT
trap 'exit 143' INT TERM
status=0
spicelane up --name "$lane" --dir "$dir/lane" "$@" && spicelane smoke -o "$dir/screen.png" "$lane" || status=$?
spicelane down "$lane" >/dev/null 2>&1 || true
case $status in
    0) verdict="PASS" ;;
    1) verdict="FAIL: the product failed" ;;
    3) verdict="FAIL: this host lacks something" ;;
    *) verdict="FAIL: the harness failed" ;;
esac
echo "spicelane: $verdict; the evidence is in $dir"
# A job's summary and an annotation, where the CI knows them.
if [ -n "${GITHUB_STEP_SUMMARY-}" ]; then
    printf '### Spicelane: %s\n\nStart with `lane/lane.html` in the artifacts.\n' "$verdict" >>"$GITHUB_STEP_SUMMARY"
    [ $status -eq 0 ] || echo "::error title=Spicelane::$verdict"
fi
exit $status
