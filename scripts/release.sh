#!/bin/sh
# Makes the files of a release in dist/: static programs for Linux on amd64 and arm64, Debian
# packages with the manual and shell completion, SBOMs of the programs, and checksums of all files.
#
#   scripts/release.sh VERSION      such as v0.3.0
set -eu
cd "$(dirname "$0")/.."
version=${1:?usage: scripts/release.sh VERSION}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
host=$(mktemp -d)
trap 'rm -rf "$host"' EXIT
export CGO_ENABLED=0 GOFLAGS=-buildvcs=true # the programs contain their commit
go build -trimpath -o "$host/spicelane" ./cmd/spicelane
says=$("$host/spicelane" --version)
case $says in
"spicelane $version,"*) ;;
*)
    echo "scripts/release.sh: the program says \"$says\"; it says $version if that is the tag of this commit and nothing is changed" >&2
    exit 1
    ;;
esac

rm -rf dist
mkdir -p dist

# The manual and the completion are the same on all processors.
share=$host/share
mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
"$host/spicelane" man "$share/man/man1"
gzip -9n "$share"/man/man1/*.1
"$host/spicelane" completion bash >"$share/bash-completion/completions/spicelane"
"$host/spicelane" completion zsh >"$share/zsh/vendor-completions/_spicelane"
"$host/spicelane" completion fish >"$share/fish/vendor_completions.d/spicelane.fish"

for arch in amd64 arm64; do
    program=dist/spicelane-linux-$arch
    GOOS=linux GOARCH=$arch go build -trimpath -ldflags '-s -w' -o "$program" ./cmd/spicelane
    scripts/sbom.sh "$program" "$version" "$program"

    root=$host/deb-$arch
    mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/share/doc/spicelane"
    cp "$program" "$root/usr/bin/spicelane"
    cp -R "$share/." "$root/usr/share"
    cp LICENSE "$root/usr/share/doc/spicelane/copyright"
    cat >"$root/DEBIAN/control" <<CONTROL
Package: spicelane
Version: ${version#v}
Architecture: $arch
Maintainer: The Spicelane authors <spicelane@users.noreply.github.com>
Section: devel
Priority: optional
Recommends: qemu-system-x86, qemu-utils, ovmf
Suggests: qemu-system-modules-spice
Homepage: https://github.com/spicelane/spicelane
Description: test harness for SPICE consoles of virtual machines
 Spicelane boots a guest in QEMU, puts a SPICE proxy in front of it, drives a
 headless client, and says whether the picture is right.
CONTROL
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz --build "$root" "dist/spicelane_${version#v}_$arch.deb" >/dev/null
done
(cd dist && sha256sum -- * >SHA256SUMS)
cat dist/SHA256SUMS
