#!/bin/sh
# Rebuilds the guest images from source twice, at different paths, and compares the two builds with
# each other and with the committed images. A difference from the committed images is an error only
# with the toolchain that they were built with, Debian 12's: another compiler makes a different,
# equally good image.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

here=$work/here
there=$work/a/rather/different/place
mkdir -p "$there"
cp -R scripts fixtures "$there"
scripts/fixtures.sh "$here" >/dev/null
"$there/scripts/fixtures.sh" "$work/there" >/dev/null

for image in fixtures/images/*.qcow2; do
    name=$(basename "$image")
    if ! cmp "$here/$name" "$work/there/$name"; then
        echo "fixtures: $name depends on where it is built" >&2
        exit 1
    fi
    sum=$(sha256sum "$image" | cut -d' ' -f1)
    if ! grep -q "^sha256: $sum" "fixtures/${name%.qcow2}.yaml"; then
        echo "fixtures: fixtures/${name%.qcow2}.yaml does not have the sha256 of $image: run make fixtures" >&2
        exit 1
    fi
    if cmp -s "$here/$name" "$image"; then
        echo "fixtures: $name is what its source makes"
    elif clang --version | grep -q 'Debian clang version 14\.' && qemu-img --version | grep -q 'version 7\.2\.'; then
        echo "fixtures: $name is not what its source makes: run make fixtures and commit the result" >&2
        exit 1
    else
        echo "fixtures: $name differs from what this toolchain makes; it was built with Debian 12's ($(clang --version | head -n 1) here)"
    fi
done
