#!/bin/sh
# Builds the guest images from source and prints their sha256.
#
#   scripts/fixtures.sh [DIR]     the directory for the image; default fixtures/images
#
# The same source gives the same bytes at any path: no debug info, no timestamps, a fixed FAT serial
# number, and file names that do not depend on the path of the tree. The bytes also depend on the
# compiler. The committed image was built with Debian 12's clang 14; another version makes a
# different, equally good image.
# Debian: apt-get install clang lld mtools qemu-utils
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/fixtures/images}
for tool in clang lld-link mformat mcopy qemu-img sha256sum; do
    command -v "$tool" >/dev/null || {
        echo "fixtures: $tool is missing: apt-get install clang lld mtools qemu-utils" >&2
        exit 3
    }
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export SOURCE_DATE_EPOCH=1735689600 # 2025-01-01, the date of every file in the image
export TZ=UTC LC_ALL=C MTOOLS_SKIP_CHECK=1 MTOOLSRC=/dev/null

cd "$root/fixtures/guest/src"
export work
# Interrupt handlers must not use the vector registers, so interrupts.c has additional flags. Not
# every clang knows the last one.
printf '%s\n' *.c | xargs -P "$(nproc)" -I {} sh -c '
    regs=
    [ "$1" = interrupts.c ] && regs="-mgeneral-regs-only -Wno-unknown-warning-option -Wno-interrupt-service-routine"
    exec clang --target=x86_64-unknown-windows -std=c11 -O2 -ffreestanding -fno-stack-protector -mno-stack-arg-probe \
        -fno-ident $regs -Wall -Wextra -Werror -c "$1" -o "$work/${1%.c}.obj"' sh {}
cd "$work"
lld-link /subsystem:efi_application /entry:efi_main /nodefaultlib /Brepro /out:BOOTX64.EFI ./*.obj
touch -d "@$SOURCE_DATE_EPOCH" BOOTX64.EFI

# A FAT file system on the whole disk, without partitions, as on a USB stick. Firmware finds
# \EFI\BOOT\BOOTX64.EFI there.
truncate -s 1440K esp.img
mformat -i esp.img -f 1440 -N 0BEAC017 -v BEACON ::
mmd -i esp.img ::/EFI ::/EFI/BOOT
mcopy -m -i esp.img BOOTX64.EFI ::/EFI/BOOT/BOOTX64.EFI
qemu-img convert -f raw -O qcow2 -o cluster_size=4096 esp.img beacon.qcow2
mv beacon.qcow2 "$out/beacon.qcow2"
(cd "$out" && sha256sum beacon.qcow2)

# The image's entry in the catalogue contains its checksum, so update it.
if [ "$out" = "$root/fixtures/images" ]; then
    sum=$(sha256sum "$out/beacon.qcow2" | cut -d' ' -f1)
    sed -i "s/^sha256: [0-9a-f]*/sha256: $sum/" "$root/fixtures/beacon.yaml"
fi
