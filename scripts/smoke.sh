#!/bin/sh
# Runs one lane from nothing to a verdict: installs, builds, starts Beacon, checks the console,
# saves a screenshot, and ends the lane. The last line is the verdict. The exit status is that of
# "spicelane smoke": 0 passed, 1 the product failed, 2 the harness failed, 3 this host lacks
# something.
#
#   scripts/smoke.sh [FLAGS OF up]
set -eu
cd "$(dirname "$0")/.."

scripts/setup.sh --lanes
make --no-print-directory build

lane=smoke-$$
dir=$PWD/artifacts/$lane
mkdir -p "$dir"
trap 'bin/spicelane down "$lane" >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

status=0
bin/spicelane up --name "$lane" --dir "$dir" "$@" && bin/spicelane smoke -o "$dir/screen.png" "$lane" || status=$?
if [ -e "$dir/screen.png" ]; then
    seen="the screen is in $dir/screen.png"
else
    seen="what it left is in $dir"
fi
case $status in
    0) echo "smoke: PASS; $seen" ;;
    1) echo "smoke: the product failed; $seen" >&2 ;;
    2) echo "smoke: the harness failed; $seen" >&2 ;;
    3) echo "smoke: this host lacks something, see above; $seen" >&2 ;;
    *) echo "smoke: ended with status $status; $seen" >&2 ;;
esac
exit $status
