#!/bin/bash
# system.sh SUITE x86_64|aarch64: have build/systems/SUITE-ARCH/disk.raw, a disk with Debian SUITE as it is installed:
# GPT, GRUB (x86_64: for BIOS and for UEFI), systemd, Debian's kernel and initramfs. On its serial console it says what
# integration/systems/guest/report sees, and then does what it is told, as integration/guest/init, whose initramfs it has
# in /probe. Beside it are data.raw, a file system, and for x86_64 netboot.0, which starts it by PXE. Takes root.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=$1 arch=$2
top=$PWD home=$PWD/build/systems/$suite-$arch tools=$PWD/build/systems/$suite-x86_64/root
guest=integration/systems/guest
probe=build/guest/$arch/initramfs.zst
data_uuid=01234567-89ab-cdef-0123-456789abcdef

# shellcheck source=tools/lib.sh
. tools/lib.sh

[ "$(id -u)" = 0 ] || die "installing a system needs root"
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$home"
exec 9>"$home/lock"
flock 9
case $arch in
x86_64) packages="grub-efi-amd64-bin grub-pc-bin linux-image-amd64" foreign='' ;;
aarch64)
    # That one's programs run here.
    tools/system.sh "$suite" x86_64
    packages="grub-efi-arm64-bin linux-image-arm64" foreign=arm64
    ;;
esac
# shellcheck disable=SC2086  # names
FOREIGN=$foreign TOOLS=$tools tools/debian.sh "$suite" "$home/root" minbase $packages dbus dosfstools e2fsprogs fdisk \
    grub2-common initramfs-tools iproute2 kmod systemd-sysv udev zstd
of=$(cat "$0" tools/install-system.sh "$guest"/* "$home/root.complete" "$probe" | sha256sum)
[ "$(cat "$home/of" 2>/dev/null)" != "$of" ] || exit 0

step "Installing Debian ($suite, $arch) on $home/disk.raw (log: $home/install.log)"
rm -f "$home/of" "$home/disk.raw"
truncate -s 2G "$home/disk.raw"
loop=$(losetup --find --show --partscan "$home/disk.raw")
trap 'losetup --detach "$loop"' EXIT

unshare --mount --pid --fork tools/install-system.sh "$home/root" "$loop" "$top/$guest" "$top/$probe" "$data_uuid" \
    "$arch" "$tools" >"$home/install.log" 2>&1 || die "see $home/install.log"
if [ "$foreign" ]; then
    step "Letting a guest configure it (log: $home/setup.log)"
    # In the end its first program exits, so the kernel panics, and QEMU exits, too.
    timeout 1800 qemu-system-aarch64 -M virt -cpu cortex-a57 -m 2G -nic none -display none -no-reboot \
        -kernel "$home"/root/boot/vmlinuz-* -initrd "$home/setup.cpio" -append "console=ttyAMA0 panic=-1 rdinit=/first" \
        -drive "file=$home/disk.raw,format=raw,if=virtio,cache=unsafe" -serial "file:$home/setup.log" || die "QEMU failed"
    rm "$home/setup.cpio"
    grep -q "^@@ set up" "$home/setup.log" || die "see $home/setup.log"
fi
truncate -s 32M "$home/data.raw"
mke2fs -q -F -t ext4 -U "$data_uuid" "$home/data.raw"
echo "$of" >"$home/of"
