#!/bin/sh
# Installs the packages that lanes and their tests need and this host lacks. Runs on Debian 12 or
# newer and Ubuntu 24.04 or newer, as root or with sudo. If nothing is missing, it prints nothing
# and uses no network.
#
#   scripts/setup.sh            install
#   scripts/setup.sh --lanes    install only what lanes need, not what tests and fixture builds need
#   scripts/setup.sh --check    only print what is missing; exit status 3 if anything is missing
set -eu

# The packages to install.
packages=

want() { # want COMMAND PACKAGE...: adds the packages unless the command is there
    command -v "$1" >/dev/null 2>&1 && return
    shift
    packages="$packages $*"
}

want make make
want git git
want qemu-img qemu-utils
# The Linux guest is built from packages that apt-get downloads. Their kernels and modules may be
# compressed with xz.
want xz xz-utils

# What tests and fixture builds need in addition.
wants_of_tests() {
    want shellcheck shellcheck
    want clang clang
    want lld-link lld
    want mformat mtools
    PATH=$PATH:/usr/sbin want mkfs.fat dosfstools
    want spicy-screenshot spice-client-gtk
    want tmux tmux
    want socat socat
    # spicelane text --ocr and a test run tesseract.
    want tesseract tesseract-ocr
    want groff groff-base
    want ffmpeg ffmpeg
    want stunnel4 stunnel4
    # The test of the libvirt source starts its own libvirtd.
    PATH=$PATH:/usr/sbin want libvirtd libvirt-daemon-system
    want virsh libvirt-clients
    # The test of the SSH executor of plans starts a real sshd in network namespaces.
    PATH=$PATH:/usr/sbin want sshd openssh-server
    PATH=$PATH:/usr/sbin want ip iproute2
    # bench-proxy compares our proxy with these.
    PATH=$PATH:/usr/sbin want haproxy haproxy
    PATH=$PATH:/usr/sbin want nginx nginx-light libnginx-mod-stream
    # The browser tests use any of these browsers. Ubuntu has Chromium only as a snap, which the
    # package chromium-browser installs.
    if ! command -v chromium >/dev/null 2>&1 && ! command -v chromium-browser >/dev/null 2>&1 && ! command -v google-chrome >/dev/null 2>&1; then
        if grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null; then
            packages="$packages chromium-browser"
        else
            packages="$packages chromium"
        fi
    fi
    # The test of the WebSocket port uses these pages.
    [ -e /usr/share/spice-html5/spice_auto.html ] || packages="$packages spice-html5"
    # The truth server's helper is compiled when it is first needed.
    if ! pkg-config --exists spice-server glib-2.0 pixman-1 2>/dev/null; then
        packages="$packages pkg-config libspice-server-dev libglib2.0-dev libspice-protocol-dev libpixman-1-dev"
    fi
    # The race detector and the guest's host tests are linked with a C compiler.
    if ! echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; then
        packages="$packages gcc libc6-dev"
    fi
}
[ "${1-}" = --lanes ] || wants_of_tests

if [ ! -e "${SPICELANE_OVMF_CODE:-/usr/share/OVMF/OVMF_CODE_4M.fd}" ] && [ ! -e /usr/share/OVMF/OVMF_CODE.fd ]; then
    packages="$packages ovmf"
fi

qemu=${SPICELANE_QEMU:-qemu-system-x86_64}
has_spice() {
    "$qemu" -spice help 2>/dev/null | grep -q port && "$qemu" -device qxl-vga,help >/dev/null 2>&1
}
want "$qemu" qemu-system-x86
# "spice" is a placeholder: the name of the package depends on the release, see below.
has_spice || packages="$packages spice"

# Without its lists of packages, apt cannot choose a kernel to download.
has_lists() {
    ! command -v apt-cache >/dev/null || apt-cache policy linux-image-amd64 linux-image-generic 2>/dev/null | grep -q 'Candidate: [0-9]'
}
lists=
has_lists || lists="apt's lists of packages (apt-get update)"

if [ -z "$packages$lists" ]; then
    exit 0
fi
if [ "${1-}" = --check ]; then
    echo "setup: missing:$packages $lists" >&2
    exit 3
fi
if ! command -v apt-get >/dev/null; then
    echo "setup: missing:$packages; this script knows only apt, install them with this system's package manager" >&2
    exit 3
fi

sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    if ! command -v sudo >/dev/null; then
        echo "setup: missing:$packages; run this as root, or install sudo" >&2
        exit 3
    fi
fi

apt() { # apt ARGS: runs apt-get without questions, and prints its output only if it fails
    log=$(mktemp)
    if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "setup: apt-get $* failed" >&2
        exit 3
    fi
    rm -f "$log"
}

apt update
[ -n "$packages" ] || exit 0

# Newer releases have QEMU's SPICE in a separate package. In older ones it is part of
# qemu-system-common.
case " $packages " in *" spice "*)
    packages=$(echo "$packages " | sed 's/ spice / /')
    case $packages in *qemu-system-x86*) ;; *) packages="$packages qemu-system-x86" ;; esac
    if apt-cache show qemu-system-modules-spice 2>/dev/null | grep -q ^Package; then
        packages="$packages qemu-system-modules-spice"
    fi
    ;;
esac

echo "setup: installing$(echo " $packages" | tr -s ' ')" >&2
# shellcheck disable=SC2086 # a list of words
apt install --no-install-recommends -y $packages

if ! has_spice; then
    echo "setup: $qemu still has no SPICE or no QXL; look at $qemu -spice help" >&2
    exit 3
fi
