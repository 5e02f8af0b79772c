#!/bin/sh
# Runs in the CI of another repository: one lane, or that repository's own tests with lanes. Keeps
# the evidence in one directory. GitHub, GitLab and Jenkins call this same script.
#
#   SPICELANE_CI_DIR       the directory for the evidence; default: spicelane-evidence
#   SPICELANE_CI_COMMAND   a command of your own, such as: go test -artifacts -outputdir "$SPICELANE_CI_DIR" ./...
#                          spicelane is in its PATH; its files in $SPICELANE_CI_DIR are evidence
#   SPICELANE_CI_PROXY     the command line of your proxy, as for: spicelane up --proxy
#   SPICELANE_CI_CLIENT    the command line of your client, as for: spicelane up --client
#   SPICELANE_CI_IMAGE     your guest's image or entry (.yaml), as for: spicelane up --image or --fixture
#
# Without a command, the script starts one lane with these parts and runs spicelane smoke. Exit
# status: 0 passed, 1 the product failed, 2 the harness failed, 3 this host lacks something. With a
# command, it is the command's exit status.
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
# A summary of the job and an annotation, if the CI supports them.
if [ -n "${GITHUB_STEP_SUMMARY-}" ]; then
    printf '### Spicelane: %s\n\nStart with `lane/lane.html` in the artifacts.\n' "$verdict" >>"$GITHUB_STEP_SUMMARY"
    [ $status -eq 0 ] || echo "::error title=Spicelane::$verdict"
fi
exit $status
