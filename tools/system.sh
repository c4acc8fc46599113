#!/bin/bash
# system.sh SUITE: have build/systems/SUITE/disk.raw, a disk with Debian SUITE as it is installed: GPT, GRUB for BIOS and
# for UEFI, systemd, Debian's kernel and initramfs. On its serial console it says what integration/systems/guest/report
# sees, and then does what it is told, as integration/guest/init, whose initramfs it has in /probe. Takes root.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=$1
top=$PWD home=$PWD/build/systems/$1
guest=integration/systems/guest
probe=build/guest/x86_64/initramfs.gz
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
of=$(cat "$0" "$guest"/* "$home/root.complete" "$probe" | sha256sum)
[ "$(cat "$home/of" 2>/dev/null)" != "$of" ] || exit 0

step "Installing Debian ($suite) on $home/disk.raw (log: $home/install.log)"
rm -f "$home/of" "$home/disk.raw"
truncate -s 2G "$home/disk.raw"
loop=$(losetup --find --show --partscan "$home/disk.raw")
trap 'losetup --detach "$loop"' EXIT

cat >"$home/install" <<'INSTALL'
set -eux
root=$1 loop=$2 guest=$3 probe=$4 data_uuid=$5
mount --make-rprivate /
mount --rbind /dev "$root/dev"
printf '%s\n' 'label: gpt' 'size=1MiB, type=21686148-6449-6E6F-744E-656564454649' \
    'size=48MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B' 'type=0FC63DAF-8483-4772-8E79-3D69D8477DE4' |
    chroot "$root" sfdisk --no-reread "$loop"
# A kernel may not read GPT by itself.
partx --update "$loop"
chroot "$root" mkfs.vfat -i 01234567 "${loop}p2"
chroot "$root" mke2fs -q -t ext4 "${loop}p3"
uuid=$(chroot "$root" blkid -s UUID -o value "${loop}p3")
disk=$root.disk
mkdir -p "$disk"
mount "${loop}p3" "$disk"
tar -C "$root" --one-file-system -c . | tar -C "$disk" -x
mkdir -p "$disk/boot/efi" "$disk/data" "$disk/probe"
mount --rbind /dev "$disk/dev"
mount -t proc proc "$disk/proc"
mount -t sysfs sys "$disk/sys"

# The harness's guest without its kernel modules: what root tries is the same program.
zcat "$probe" | (cd "$disk/probe" && cpio -idm --quiet)
rm -rf "$disk/probe/modules"
mkdir "$disk/probe/modules"
: >"$disk/probe/modules/order"

install "$guest/report" "$disk/usr/local/sbin/report"
install -m 644 "$guest"/*.service "$disk/etc/systemd/system/"
install -m 644 "$guest"/*.network "$disk/etc/systemd/network/"
echo system >"$disk/etc/hostname"
echo 0123456789abcdef0123456789abcdef >"$disk/etc/machine-id"
cat >"$disk/etc/fstab" <<FSTAB
UUID=$uuid / ext4 errors=remount-ro 0 1
UUID=0123-4567 /boot/efi vfat umask=0077 0 1
UUID=$data_uuid /data ext4 nofail,x-systemd.device-timeout=60 0 2
FSTAB
# iomem=relaxed: root reaches the registers of devices that have a driver. no_timer_check: for QEMU without KVM.
cat >"$disk/etc/default/grub" <<'GRUB'
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX="console=ttyS0 quiet loglevel=1 iomem=relaxed no_timer_check probe.end=ask"
GRUB_TERMINAL=serial
GRUB
inside() { chroot "$disk" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
inside systemctl enable report.service attack.service systemd-networkd.service
inside systemctl mask serial-getty@ttyS0.service getty@tty1.service systemd-networkd-wait-online.service
inside systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
# Drivers that the root file system needs; udev loads all others. It halves the time of a boot without KVM.
echo MODULES=list >"$disk/etc/initramfs-tools/conf.d/modules"
printf '%s\n' virtio_pci virtio_blk virtio_scsi ahci sd_mod ext4 >>"$disk/etc/initramfs-tools/modules"
inside update-initramfs -u
inside grub-install --target=i386-pc "$loop"
inside update-grub
# It does so itself where udev has made the link of that UUID.
sed -i "s|root=${loop}p3|root=UUID=$uuid|" "$disk/boot/grub/grub.cfg"
grep -q "root=UUID=$uuid" "$disk/boot/grub/grub.cfg"
# What Debian's grub-install has for UEFI, without one: this kernel may not mount FAT.
cp -r "$disk/usr/lib/grub/x86_64-efi" "$disk/boot/grub/"
cat >"$disk/boot/grub/efi.cfg" <<EFI
search.fs_uuid $uuid root
set prefix=(\$root)/boot/grub
configfile \$prefix/grub.cfg
EFI
mmd -i "${loop}p2" ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i "${loop}p2" "$disk/boot/grub/x86_64-efi/monolithic/grubx64.efi" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "${loop}p2" "$disk/boot/grub/efi.cfg" ::/EFI/debian/grub.cfg
INSTALL
unshare --mount --pid --fork bash "$home/install" "$home/root" "$loop" "$top/$guest" "$top/$probe" "$data_uuid" \
    >"$home/install.log" 2>&1 || die "see $home/install.log"
truncate -s 32M "$home/data.raw"
mke2fs -q -F -t ext4 -U "$data_uuid" "$home/data.raw"
echo "$of" >"$home/of"
