#!/bin/sh
# Rebuilds the guest images in a container of Debian 12, whose toolchain they were made with, and compares them with the
# committed ones. Needs root.
set -eu
cd "$(dirname "$0")/.."
apt-get update -qq
apt-get install -qq -y --no-install-recommends clang lld mtools qemu-utils >/dev/null
exec scripts/check-fixtures.sh
