#!/bin/bash
# install-system.sh ROOT LOOP GUEST PROBE UUID ARCH TOOLS: for tools/system.sh, in a mount namespace of its own: make a
# disk of the loop device LOOP, with the Debian in ROOT and the files in GUEST, the initramfs PROBE unpacked in /probe,
# and the file system with this UUID in /data. TOOLS is a Debian whose programs run here. Of aarch64 /setup is left to
# do, which ROOT/../setup.cpio does in a guest.
set -euxo pipefail
root=$1 loop=$2 guest=$3 probe=$4 data_uuid=$5 arch=$6 tools=$7
mount --make-rprivate /
mount --rbind /dev "$tools/dev"
inside() { chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "${@:2}"; }
printf '%s\n' 'label: gpt' 'size=1MiB, type=21686148-6449-6E6F-744E-656564454649' \
    'size=48MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B' 'type=0FC63DAF-8483-4772-8E79-3D69D8477DE4' |
    inside "$tools" sfdisk --no-reread "$loop"
# A kernel may not read GPT by itself.
partx --update "$loop"
inside "$tools" mkfs.vfat -i 01234567 "${loop}p2"
inside "$tools" mke2fs -q -t ext4 "${loop}p3"
uuid=$(inside "$tools" blkid -s UUID -o value "${loop}p3")
disk=$root.disk
mkdir -p "$disk"
mount "${loop}p3" "$disk"
tar -C "$root" --one-file-system -c . | tar -C "$disk" -x
mkdir -p "$disk/boot/efi" "$disk/data" "$disk/probe"

# The harness's guest without its kernel modules: what root tries is the same program.
inside "$tools" zstdcat <"$probe" | (cd "$disk/probe" && cpio -idm --quiet)
rm -rf "$disk/probe/lib"

install -D "$guest/report" "$disk/usr/local/sbin/report"
install -m 644 "$guest"/*.service "$disk/etc/systemd/system/"
install -m 644 "$guest"/*.network "$disk/etc/systemd/network/"
echo system >"$disk/etc/hostname"
echo 0123456789abcdef0123456789abcdef >"$disk/etc/machine-id"
cat >"$disk/etc/fstab" <<FSTAB
UUID=$uuid / ext4 errors=remount-ro 0 1
UUID=0123-4567 /boot/efi vfat umask=0077 0 1
UUID=$data_uuid /data ext4 nofail 0 2
FSTAB
mkdir -p "$disk/etc/systemd/system.conf.d"
# On a busy machine all takes its time.
printf '%s\n' '[Manager]' DefaultTimeoutStartSec=300 DefaultDeviceTimeoutSec=300 >"$disk/etc/systemd/system.conf.d/slow.conf"
case $arch in
x86_64) tty=ttyS0 terminal=serial initramfs=-u grub="--target=i386-pc $loop" ;;
aarch64) tty=ttyAMA0 terminal=console initramfs="-c -k all" grub="--target=arm64-efi --removable" ;;
esac
# iomem=relaxed: root reaches the registers of devices that have a driver. The other two are for QEMU without KVM.
cat >"$disk/etc/default/grub" <<GRUB
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX="console=$tty quiet loglevel=1 iomem=relaxed no_timer_check mitigations=off"
GRUB_TERMINAL=$terminal
GRUB
# Drivers that the root file system needs; udev loads all others. It shortens a boot without KVM.
mkdir -p "$disk/usr/share/initramfs-tools/modules.d"
echo MODULES=list >"$disk/etc/initramfs-tools/conf.d/modules"
printf '%s\n' virtio_pci virtio_blk virtio_scsi ahci sd_mod ext4 >"$disk/usr/share/initramfs-tools/modules.d/system"
cat >"$disk/setup" <<SETUP
set -ex
export DEBIAN_FRONTEND=noninteractive
INITRD=No dpkg --configure -a
systemctl enable report.service attack.service systemd-networkd.service
systemctl mask serial-getty@$tty.service getty@tty1.service systemd-networkd-wait-online.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
update-initramfs $initramfs
grub-install $grub
update-grub
# It does so itself where udev has made the link of that UUID.
sed -i "s|root=/dev/[^ ]*|root=UUID=$uuid|" /boot/grub/grub.cfg
grep -q "root=UUID=$uuid" /boot/grub/grub.cfg
rm /setup
SETUP
if [ "$arch" = aarch64 ]; then
    mount --bind "$root" "$tools/mnt"
    inside "$tools" depmod -b /mnt "$(ls "$root/lib/modules")"
    cpio() { command cpio --quiet -o -H newc -R 0:0; }
    {
        (cd "$root" && find . \( -path ./var -o -path ./usr/share -o -path ./boot \) -prune -o -print | cpio)
        (cd "$guest" && echo first | cpio)
    } >"$root/../setup.cpio"
    exit
fi
mount --rbind /dev "$disk/dev"
mount -t proc proc "$disk/proc"
mount -t sysfs sys "$disk/sys"
inside "$disk" sh /setup
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
# The same by the network: a program for the firmware's PXE, which then starts this disk.
cat >"$disk/boot/grub/netboot.cfg" <<NETBOOT
serial
terminal_output serial
echo
echo "@@ netboot"
search.fs_uuid $uuid root
set prefix=(\$root)/boot/grub
normal (\$root)/boot/grub/grub.cfg
NETBOOT
inside "$disk" grub-mkimage -O i386-pc-pxe -p /boot/grub -c /boot/grub/netboot.cfg -o /boot/grub/netboot.0 \
    biosdisk echo ext2 normal part_gpt pxe search search_fs_uuid serial terminal
cp "$disk/boot/grub/netboot.0" "$root/.."
