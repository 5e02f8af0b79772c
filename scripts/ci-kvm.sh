#!/bin/sh
# Lets this user use KVM on a CI machine with sudo, if there is a KVM. With --require, fails if this user may not.
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
