#!/bin/sh
# Runs $SPICELANE_CI_PREPARE, another repository's command that builds the programs for its lanes.
set -eu
exec sh -c "$SPICELANE_CI_PREPARE"
