#!/bin/bash
# Saving and restoring a guest turns the hotplug of i440fx's root bus on again.
#
# The guess: <target hotplug='off'/> of the controller pci-root is part of a guest's XML, in the persistent definition and in the
# live one; saving and restoring the guest keeps it, as it keeps the same setting of a pcie-root-port.
# The fact: libvirt leaves pci-root out of the XML that it saves or migrates if it is the only PCI controller, as old versions did
# not have it; what the user set on it is left out too. QEMU is started anew without -global PIIX4_PM.acpi-root-pci-hotplug=off.
# Why it matters: the setting is gone from the running guest until its next cold start, and no message tells it. It also changes
# what the guest's ACPI tables say at its next reboot, and with them the names of its network cards.

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
libvirt libvirt11 >"$dir/seen" 2>&1 <<'END'
cat >/tmp/guest.xml <<'XML'
<domain type="qemu"><name>guest</name><memory unit="MiB">64</memory><os><type arch="x86_64" machine="pc">hvm</type></os><features><acpi/></features>
<devices><controller type="pci" index="0" model="pci-root"><target hotplug="off"/></controller>
<controller type="usb" model="none"/><memballoon model="none"/></devices></domain>
XML
seen() { # MOMENT: whether QEMU has the option, and the live XML the setting
    busybox tr '\0' '\n' <"/proc/$(busybox pidof qemu-system-x86_64)/cmdline" >/tmp/options
    busybox grep -q PIIX4_PM.acpi-root-pci-hotplug=off /tmp/options && echo "$1: QEMU off" || echo "$1: QEMU on"
    virsh dumpxml guest | busybox grep -q "target hotplug='off'" && echo "$1: XML off" || echo "$1: XML on"
}
virsh version
virsh -q define /tmp/guest.xml
virsh -q start guest --paused
seen started
virsh -q save guest /tmp/guest.save && virsh -q restore /tmp/guest.save --paused && seen restored
virsh -q destroy guest
END
grep '^Using API\|^Running hypervisor' "$dir/seen"
expect "started" "started: QEMU off started: XML off" "$(grep '^started: ' "$dir/seen" | xargs)"
expect "saved and restored" "restored: QEMU on restored: XML on" "$(grep '^restored: ' "$dir/seen" | xargs)"

exit "$changed"
