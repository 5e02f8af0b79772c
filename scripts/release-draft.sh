#!/bin/sh
# Makes a draft of a release on GitHub with the files that scripts/release.sh made.
#
#   scripts/release-draft.sh VERSION
set -eu
cd "$(dirname "$0")/.."
exec gh release create "$1" --draft --verify-tag --title "$1" --notes-file CHANGELOG.md dist/*
