#!/bin/sh
# Prints the Makefile's targets, each with its one-line description.
set -eu
cd "$(dirname "$0")/.."
sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)$/\1	\2/p' Makefile | awk -F '\t' '{ printf "%-15s %s\n", $1, $2 }'
