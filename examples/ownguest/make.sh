#!/bin/sh
# Builds guest.qcow2 from guest.S. Debian: apt-get install clang lld qemu-utils
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
clang --target=i386-none-elf -c guest.S -o "$work/guest.o"
ld.lld -m elf_i386 -Ttext 0x7c00 --oformat binary "$work/guest.o" -o "$work/guest.img"
truncate -s 1M "$work/guest.img" # a BIOS refuses a disk that is smaller than a cylinder
qemu-img convert -f raw -O qcow2 -o cluster_size=512 "$work/guest.img" guest.qcow2
sum=$(sha256sum guest.qcow2 | cut -d' ' -f1)
sed -i "s/^sha256: [0-9a-f]*/sha256: $sum/" guest.yaml
