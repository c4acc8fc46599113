#!/bin/bash
# A network card is renamed because another device joins its slot.
#
# The guess: enp0s5 names a card by its PCI address, 00:05.0; as long as that address stays, so does the name.
# The fact: systemd appends the function ("f0") if the slot is a multifunction one. When a device is put at 00:05.1 the card at
# 00:05.0, whose own address has not changed, is enp0s5f0. systemd 252 (Debian 12) and 257 (Debian 13) agree.
# Why it matters: packing devices into functions (to have room for more of them, or because pcie-root has 32 slots only) takes
# a guest off the network whose configuration says enp0s5, at the next boot, on the day on which a disk was added.

set -euo pipefail
changed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# unpack "SUITE..." ROOT PACKAGE[=VERSION]...: unpack the packages of the last suite, and all that they depend on, below
# $dir/ROOT. The suites are read from the machine's own Debian mirror, with a private apt that starts from no installed package.
unpack() {
    local suites=$1 root=$dir/$2 apt=$dir/apt-$2 suite mirror deb
    shift 2
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,tmp} "$apt"/{lists/partial,cache/archives/partial}
    for deb in bin sbin lib lib64; do ln -sfn "usr/$deb" "$root/$deb"; done
    mirror=$(apt-get update --print-uris | sed -n "s|^'\(.*/debian\)/dists/.*/InRelease'.*|\1|p" | head -n 1)
    for suite in $suites; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$apt/list"
    cat >"$apt/conf" <<END
Dir::Etc::SourceList "$apt/list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "$(id -un)";
END
    touch "$apt/status"
    export APT_CONFIG=$apt/conf
    if ! { apt-get -qq update && apt-get -qq -y --no-install-recommends --download-only -t "$suite" install "$@"; } >"$apt/log" 2>&1; then
        grep '^E:' "$apt/log" || true
        echo "cannot tell: the mirror does not offer $* in $suite (Debian removes a version when it has a newer one)"
        exit 3
    fi
    unset APT_CONFIG
    for deb in "$apt"/cache/archives/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"; done
    rm -rf "$apt"
    echo "$suite: $*"
}

# enter ROOT COMMAND...: run a command in the tree below $dir/ROOT, with mounts of its own, for four minutes at most.
enter() {
    local root=$dir/$1 user=
    shift
    [ "$(id -u)" = 0 ] || user=--map-root-user
    # shellcheck disable=SC2016 # the inner shell expands them
    timeout --signal=KILL 240 unshare ${user:+"$user"} --mount --pid --fork --kill-child sh -c \
        'mount --rbind /dev "$0/dev"; mount --rbind /sys "$0/sys"; mount -t proc proc "$0/proc"; exec chroot "$0" "$@"' "$root" "$@"
}

# expect WHAT RECORDED SEEN: print what is seen, and note if it is not what was recorded.
expect() {
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "CHANGED, it was: $2"; changed=1; }
}

# guest ROOT MODULE...: make $dir/ROOT.initramfs of the tree below $dir/ROOT, the modules and $dir/init.
guest() {
    local root=$dir/$1 tree=$dir/$1.tree module
    shift
    mkdir -p "$tree/modules"
    cp -a "$root"/{bin,sbin,lib,lib64,etc,usr,dev,proc,sys,tmp} "$tree/"
    rm -rf "${tree:?}/usr/share"
    mkdir -p "$tree/run"
    for module in "$@"; do
        find "$dir/kernel/" -name "$module.ko.xz" -exec xz -dc {} + >"$tree/modules/$module.ko"
        echo "busybox insmod /modules/$module.ko"
    done >"$tree/modules/load"
    cp "$dir/init" "$tree/init"
    (cd "$tree" && find . | "$root/usr/bin/busybox" cpio -o -H newc 2>/dev/null) >"$root.initramfs"
    rm -rf "$tree"
}

# boot QEMU GUEST OPTION...: boot the guest in the QEMU of that tree and print the lines that its init marked.
boot() {
    local qemu=$1 guest=$2
    shift 2
    cp -n "$dir"/kernel/boot/vmlinuz-* "$dir/$qemu/tmp/vmlinuz"
    cp "$dir/$guest.initramfs" "$dir/$qemu/tmp/initramfs"
    enter "$qemu" qemu-system-x86_64 -display none -nodefaults -m 512 -no-reboot -serial stdio \
        -kernel /tmp/vmlinuz -initrd /tmp/initramfs -append "console=ttyS0 quiet panic=-1 no_timer_check" "$@" 2>&1 </dev/null |
        tr -d '\r' >"$dir/console"
    sed -n 's/^.*FOUND //p' "$dir/console"
}

# The guest's init lets the guest's own systemd-udevd name its cards, and prints them by the last digits of their MAC addresses.
cat >"$dir/init" <<'END'
#!/usr/bin/busybox sh
exec 2>&1
for file in proc:proc sysfs:sys devtmpfs:dev tmpfs:run; do busybox mount -t "${file%:*}" none "/${file#*:}"; done
. /modules/load
/usr/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle
cd /sys/class/net
for card in e*; do echo "$(busybox cut -c 16- "$card/address")=$card"; done | busybox sort >/tmp/cards
echo "FOUND $(busybox tr '\n' ' ' </tmp/cards)"
busybox poweroff -f
END
chmod +x "$dir/init"

# card NUMBER PROPERTIES: QEMU's options for a card whose MAC address ends with the number.
card() { echo "-netdev user,id=net$1 -device vmxnet3,netdev=net$1,romfile=,mac=52:54:00:00:00:$1,$2"; }

unpack trixie kernel linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1
unpack bookworm debian12 udev=252.39-1~deb12u2 busybox-static
unpack trixie debian13 udev=257.13-1~deb13u1 busybox-static
for debian in debian12 debian13; do
    guest $debian vmxnet3
    # shellcheck disable=SC2046 # each word of card is an option
    expect "$debian, a card alone in slot 5, and one at 6.0 that shares its slot" "05=enp0s5 06=enp0s6f0 " \
        "$(boot 10.0 $debian -machine q35 $(card 05 addr=5) $(card 06 addr=6,multifunction=on) -device virtio-rng-pci,addr=6.1)"
done

exit "$changed"
