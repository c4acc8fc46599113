#!/bin/bash
# libvirt's test driver accepts PCI addresses that cannot be, and gives none itself.
#
# The guess: test:///default parses domain XML with libvirt's own code, so what it defines is right in form: two devices at one
# address are refused, a wrong root bus is, and a network card without an <address> gets one.
# The fact: that is work of the QEMU driver. The test driver defines a q35 domain with an i440fx root bus and two devices at
# 00:05.0, and leaves the card without an address. The QEMU driver refuses each of the two faults.
# Why it matters: programs that use libvirt are commonly tested against test:///, as it needs no daemon and no privilege. What
# such tests say about placement, bridges and names of cards is nothing.

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
rng='<rng model="virtio"><backend model="random">/dev/urandom</backend><address type="pci" bus="0x00" slot="0x05" function="0x0"/></rng>'
root='<controller type="pci" index="0" model="pci-root"/>'
card='<interface type="user"><model type="virtio"/></interface>'
try() { # WHAT TYPE DEVICES: define a q35 domain of the type with the devices
    uri=test:///default
    [ "$2" = test ] || uri=qemu:///system
    echo "<domain type='$2'><name>guest</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
        <devices>$3</devices></domain>" >/tmp/guest.xml
    virsh -c "$uri" "define /tmp/guest.xml; dumpxml guest" >/tmp/out 2>&1
    if ! busybox grep -q '^<domain' /tmp/out; then echo "$1: refused by $2: $(busybox sed -n 's/^error: XML error: //p' /tmp/out)"
    elif [ "$1" = card ]; then echo "$1: $2 gives $(busybox grep -c "<address type='pci'.*bus='0x01' slot='0x00'" /tmp/out) address"
    else echo "$1: defined by $2"; fi
    [ "$2" = test ] || virsh -c "$uri" -q undefine guest
}
virsh version
for type in test qemu; do
    try twice $type "$rng$rng"
    try root $type "$root"
    try card $type "$card"
done
END
grep '^Using API\|^Running hypervisor' "$dir/seen"
expect "two devices at one address" "twice: defined by test" "$(grep '^twice.*test' "$dir/seen")"
expect "i440fx's root bus in a q35 domain" "root: defined by test" "$(grep '^root.*test' "$dir/seen")"
expect "a network card without an address" "card: test gives 0 address" "$(grep '^card.*test' "$dir/seen")"
expect "two devices at one address, with QEMU" "twice: refused by qemu: Attempted double use of PCI Address 0000:00:05.0" \
    "$(grep '^twice.*qemu' "$dir/seen")"
expect "i440fx's root bus in a q35 domain, with QEMU" "root: refused by qemu" "$(grep -o '^root: refused by qemu' "$dir/seen")"
expect "a network card without an address, with QEMU" "card: qemu gives 1 address" "$(grep '^card.*qemu' "$dir/seen")"

exit "$changed"
