#!/bin/sh
# Rebuilds the guest images and compares them with the committed ones. Runs in a container of Debian
# 12, because the committed images were built with its toolchain. Needs root.
set -eu
cd "$(dirname "$0")/.."
apt-get update -qq
apt-get install -qq -y --no-install-recommends clang lld mtools qemu-utils >/dev/null
exec scripts/check-fixtures.sh
