#!/bin/sh
# Gives this user access to KVM on a CI machine with sudo, if the machine has KVM. With --require,
# only checks that this user has access, and fails if not.
#
#   scripts/ci-kvm.sh [--require]
set -eu
if [ "${1-}" = --require ]; then
    if ! (: <>/dev/kvm) 2>/dev/null; then
        echo "::error::/dev/kvm cannot be opened: $(ls -l /dev/kvm 2>&1); the runner's user must be in group kvm"
        exit 3
    fi
    exit 0
fi
if [ ! -e /dev/kvm ]; then
    echo "no KVM here: lanes run under TCG"
elif ! (: <>/dev/kvm) 2>/dev/null && command -v sudo >/dev/null; then
    sudo -n chmod 0666 /dev/kvm || echo "this user may not use KVM: lanes run under TCG"
fi
ls -l /dev/kvm 2>/dev/null || true
