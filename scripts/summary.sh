#!/bin/sh
# Adds the results of the tests (artifacts/*.json from scripts/test.sh) to the job's summary on
# GitHub.
#
#   scripts/summary.sh [URL]      URL: the address from which the artifacts can be downloaded
set -eu
cd "$(dirname "$0")/.."
out=${GITHUB_STEP_SUMMARY:-/dev/stdout}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

for stream in artifacts/*.json; do
    name=$(basename "$stream" .json)
    case $name in lanes | examples | tools | race | storm | lines) ;; *) continue ;; esac
    # The exit status is ignored: it is that of the tests, whose step has failed already. --html is
    # given so that the summary has a link to the page, which scripts/test.sh has written already.
    bin/spicelane report --quiet --title "$name" --html "artifacts/$name.html" --artifacts-url "${1-}" --summary "$work/summary.md" "$stream" 2>"$work/stderr" || true
    if [ -e "$work/summary.md" ]; then
        cat "$work/summary.md" >>"$out"
        rm "$work/summary.md"
    else
        cat "$work/stderr" >&2
        echo "summary: $stream has no summary" >&2
        failed=1
    fi
done
exit $failed
