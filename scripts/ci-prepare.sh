#!/bin/sh
# Runs $SPICELANE_CI_PREPARE, the command with which another repository builds what its lanes test.
set -eu
exec sh -c "$SPICELANE_CI_PREPARE"
