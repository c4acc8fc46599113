#!/bin/bash
# system.sh SUITE: have build/systems/SUITE/disk.raw, a disk with Debian SUITE as it is installed: GPT, GRUB for BIOS and
# for UEFI, systemd, Debian's kernel and initramfs. On its serial console it says what integration/systems/guest/report
# sees, and then does what it is told, as integration/guest/init, whose initramfs it has in /probe. Beside it are
# data.raw, a file system, and netboot.0, which starts it by PXE. Takes root.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=$1
top=$PWD home=$PWD/build/systems/$1
guest=integration/systems/guest
probe=build/guest/x86_64/initramfs.zst
data_uuid=01234567-89ab-cdef-0123-456789abcdef

# shellcheck source=tools/lib.sh
. tools/lib.sh

[ "$(id -u)" = 0 ] || die "installing a system needs root"
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$home"
exec 9>"$home/lock"
flock 9
tools/debian.sh "$suite" "$home/root" minbase dbus dosfstools e2fsprogs fdisk grub-efi-amd64-bin grub-pc-bin \
    grub2-common initramfs-tools iproute2 kmod linux-image-amd64 systemd-sysv udev zstd
of=$(cat "$0" tools/install-system.sh "$guest"/* "$home/root.complete" "$probe" | sha256sum)
[ "$(cat "$home/of" 2>/dev/null)" != "$of" ] || exit 0

step "Installing Debian ($suite) on $home/disk.raw (log: $home/install.log)"
rm -f "$home/of" "$home/disk.raw"
truncate -s 2G "$home/disk.raw"
loop=$(losetup --find --show --partscan "$home/disk.raw")
trap 'losetup --detach "$loop"' EXIT

unshare --mount --pid --fork tools/install-system.sh "$home/root" "$loop" "$top/$guest" "$top/$probe" "$data_uuid" \
    >"$home/install.log" 2>&1 || die "see $home/install.log"
truncate -s 32M "$home/data.raw"
mke2fs -q -F -t ext4 -U "$data_uuid" "$home/data.raw"
echo "$of" >"$home/of"
