#!/bin/bash
# libvirt gives PCI addresses by kind of device; the order in the XML says little.
#
# The guess: devices without an <address> get one in the order in which the user wrote them: a disk that is written before two
# network cards sits before them.
# The fact: network cards come first, then the disk, then the rng, in whatever order the three kinds are written. dumpxml sorts
# the kinds in yet another way (disk, controllers, network cards), so its output does not show the order either. Among devices
# of one kind the order in the XML counts.
# Why it matters: guests find their cards by name, and names follow addresses. A template can gain disks without any effect on
# its network cards, but a kind that comes before them, as a <filesystem> does, moves them all.

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

# libvirt ROOT: run the commands of standard input beside the libvirtd of that tree, with "virsh" and XML files below /tmp.
libvirt() {
    local root=$dir/$1
    mkdir -p "$root"/{run,etc/libvirt,var/lib/libvirt,var/log/libvirt,var/cache}
    [ -L "$root/var/run" ] || { rm -rf "$root/var/run"; ln -s ../run "$root/var/run"; }
    printf '%s:x:0:0::/:/bin/sh\n' root libvirt-qemu >"$root/etc/passwd"
    printf '%s:x:0:\n' root libvirt-qemu kvm >"$root/etc/group"
    printf '%s\n' 'user = "+0"' 'group = "+0"' 'security_driver = "none"' 'cgroup_controllers = []' 'namespaces = []' \
        'stdio_handler = "file"' 'remember_owner = 0' >"$root/etc/libvirt/qemu.conf"
    printf '%s\n' 'unix_sock_group = "root"' 'auth_unix_rw = "none"' 'host_uuid = "00000000-0000-4000-8000-000000000001"' >"$root/etc/libvirt/libvirtd.conf"
    {
        # The daemon answers when it has asked QEMU for its capabilities.
        echo 'export LC_ALL=C; libvirtd -d; until virsh version >/dev/null 2>&1; do busybox sleep 0.2; done'
        cat
    } | enter "$1" busybox sh
}

unpack trixie libvirt11 libvirt-daemon=11.3.0-3+deb13u3 libvirt-daemon-driver-qemu=11.3.0-3+deb13u3 libvirt-clients=11.3.0-3+deb13u3 \
    qemu-system-x86=1:10.0.13+ds-0+deb13u1 busybox-static
# order FILE: kinds of device in the order of their slots, of those that a domain of i440fx has in slots of its own.
order() {
    python3 - "$dir/libvirt11/tmp/$1" <<'END'
import sys, xml.etree.ElementTree as tree
slots = {}
for device in tree.parse(sys.argv[1]).find("devices"):
    address = device.find("address[@type='pci']")
    if address is not None and device.tag in ("disk", "interface", "rng", "filesystem"):
        slots[int(address.get("slot"), 16)] = device.tag
print(*(slots[slot] for slot in sorted(slots)))
END
}

libvirt libvirt11 <<'END'
disk='<disk type="file"><source file="/tmp/disk"/><target dev="vda" bus="virtio"/></disk>'
rng='<rng model="virtio"><backend model="random">/dev/urandom</backend></rng>'
card='<interface type="user"><model type="virtio"/></interface>'
share='<filesystem type="mount"><source dir="/tmp"/><target dir="share"/></filesystem>'
write() { # NAME DEVICES: define a domain with the devices in this order and dump it
    echo '<domain type="qemu"><name>guest</name><memory unit="MiB">64</memory><os><type arch="x86_64" machine="pc">hvm</type></os><devices>'"$2</devices></domain>" >/tmp/guest.xml
    virsh -q define /tmp/guest.xml && virsh dumpxml guest >"/tmp/$1.xml"
    virsh -q undefine guest
}
virsh version | busybox grep '^Using API'
write last "$disk$rng$card$card"
write first "$card$card$rng$disk"
write more "$disk$rng$card$card$share"
END
expect "written: disk, rng, interface, interface; by slots" "interface interface disk rng" "$(order last.xml)"
expect "written: interface, interface, rng, disk; by slots" "interface interface disk rng" "$(order first.xml)"
expect "written: disk, rng, interface, interface, filesystem; by slots" "filesystem interface interface disk rng" "$(order more.xml)"

exit "$changed"
