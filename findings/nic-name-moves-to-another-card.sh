#!/bin/bash
# Turning hotplug off for i440fx's root bus gives the name of one network card to another card.
#
# The guess: PIIX4_PM.acpi-root-pci-hotplug=off (libvirt: <target hotplug='off'/> of pci-root) concerns plugging. If names change,
# then those of the cards on that bus, and to new ones.
# The fact: ensN comes from slot numbers that ACPI's hotplug slots have. With hotplug on, Debian 12 calls a card in slot 3 of the
# root bus ens3 and one in slot 3 behind a pci-bridge enp1s3. With it off the first is enp0s3, and the second, on a bus where
# nothing was changed, is ens3. Debian 13 wants ens3 for both while hotplug is on: one of them, which one depends on timing,
# keeps the kernel's name ethN; with hotplug off it agrees with Debian 12.
# Why it matters: a card that has another card's name gets that one's addresses and firewall zone, on another network. That is
# worse than a name for which there is no configuration.

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

# named GUEST ROOT: the cards' names with hotplug of the root bus on or off.
named() {
    # shellcheck disable=SC2046 # each word of card is an option
    boot 10.0 "$1" -machine pc -global "PIIX4_PM.acpi-root-pci-hotplug=$2" -device pci-bridge,id=bridge1,chassis_nr=1,addr=6 \
        $(card 0a addr=3) $(card 0b bus=bridge1,addr=3)
}

unpack trixie kernel linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1
unpack bookworm debian12 udev=252.39-1~deb12u2 busybox-static
unpack trixie debian13 udev=257.13-1~deb13u1 busybox-static
guest debian12 vmxnet3
guest debian13 vmxnet3
expect "debian12, hotplug on" "0a=ens3 0b=enp1s3 " "$(named debian12 on)"
expect "debian12, hotplug off" "0a=enp0s3 0b=ens3 " "$(named debian12 off)"
expect "debian13, hotplug on, without the digit of ethN" "ens3 ethN" \
    "$(named debian13 on | sed 's/0[ab]=//g; s/eth[0-9]/ethN/' | xargs -n 1 | LC_ALL=C sort | xargs)"
expect "debian13, hotplug off" "0a=enp0s3 0b=ens3 " "$(named debian13 off)"

exit "$changed"
