#!/bin/bash
# Nothing in QMP tells which kinds of PCI device can be plugged into a running guest, and the answers are not what one guesses.
#
# The guess: device-list-properties, or qom-list-types, tells whether a kind can be hot-plugged; virtio devices can, old
# emulated display and sound devices cannot.
# The fact: the same properties are listed for both; only trying tells. virtio-gpu-pci, virtio-iommu-pci and pci-ohci are
# refused, in the same empty slot where bochs-display, ich9-intel-hda, pvpanic-pci and virtio-rng-pci are
# taken. QEMU 7.2 moreover words the refusal "Parameter 'driver' expects a pluggable device type", as it does for parts of the
# chipset that can never be created; 10.0 and 11.1 say "Device '...' does not support hotplugging".
# Why it matters: a client that offers "add hardware" for a running guest needs a list of its own, by QEMU version, and one that
# takes the text of 7.2 for "unknown kind" is wrong.

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

# refusal ROOT KIND: add the device to an empty port of a paused machine, and print "added" or QEMU's words.
refusal() {
    echo '{"execute": "qmp_capabilities"} {"execute": "device_add", "arguments": {"driver": "'"$2"'", "bus": "bridge1", "addr": "5"}}
          {"execute": "quit"}' | enter "$1" qemu-system-x86_64 -S -display none -nodefaults -machine q35 -qmp stdio \
        -device pcie-root-port,id=port1,chassis=1 -device pcie-pci-bridge,id=bridge1,bus=port1 |
        grep -o '"desc": "[^"]*"' | cut -d '"' -f 4 || echo added
}

# promised ROOT KIND: whether device-list-properties has a word on hotplug for it.
promised() {
    echo '{"execute": "qmp_capabilities"} {"execute": "device-list-properties", "arguments": {"typename": "'"$2"'"}} {"execute": "quit"}' |
        enter "$1" qemu-system-x86_64 -S -display none -machine none -qmp stdio | grep -c 'hotplug' || true
}

unpack bookworm 7.2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1
unpack "trixie trixie-backports" 11.1 qemu-system-x86=1:11.1.3+ds-1~bpo13+1
for version in 7.2 10.0 11.1; do
    for kind in virtio-gpu-pci virtio-iommu-pci pci-ohci cirrus-vga; do
        words="Device '$kind' does not support hotplugging"
        [ $version != 7.2 ] || words="Parameter 'driver' expects a pluggable device type"
        expect "QEMU $version, $kind" "$words" "$(refusal $version $kind)"
        expect "QEMU $version, $kind: words on hotplug in device-list-properties" 0 "$(promised $version $kind)"
    done
    expect "QEMU $version, a part of the chipset" "Parameter 'driver' expects a pluggable device type" "$(refusal $version ICH9-LPC)"
    for kind in bochs-display ich9-intel-hda pvpanic-pci virtio-rng-pci; do expect "QEMU $version, $kind" added "$(refusal $version $kind)"; done
done

exit "$changed"
