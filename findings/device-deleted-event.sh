#!/bin/bash
# QEMU removes some kinds of PCI device without ever saying DEVICE_DELETED.
#
# The guess: device_del ends with the event DEVICE_DELETED, which QEMU's documentation names as the way to learn that the
# device is gone; a client that waits for it learns of every removal.
# The fact: for a few kinds the device is gone from /machine/peripheral, and no event with
# that id comes. The list differs: QEMU 7.2 is silent for bochs-display, ich9-intel-hda, qemu-xhci and nec-usb-xhci, QEMU 10.0
# still for the first two, QEMU 11.1 for none of the four. The same removal of a virtio-rng-pci is told in all three.
# Why it matters: libvirt updates its XML, and ends a detach, by this event alone. With such a device it goes on listing
# hardware that the guest has no more, until the daemon is restarted and asks QEMU anew.
# How: no guest is needed. A device that is added to an empty PCIe port while the machine is paused has its slot's power off,
# and QEMU removes it at once.

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

kinds=(virtio-rng-pci bochs-display ich9-intel-hda qemu-xhci nec-usb-xhci)

# silent ROOT: add one device of each kind, remove them, and name those that are gone without an event.
silent() {
    local ports=() kind
    for kind in "${kinds[@]}"; do ports+=(-device "pcie-root-port,id=port-$kind,chassis=${#ports[@]}"); done
    {
        echo '{"execute": "qmp_capabilities"}'
        for kind in "${kinds[@]}"; do
            echo '{"execute": "device_add", "arguments": {"driver": "'"$kind"'", "id": "my-'"$kind"'", "bus": "port-'"$kind"'"}}'
            echo '{"execute": "device_del", "arguments": {"id": "my-'"$kind"'"}}'
        done
        sleep 2 # an event would come at once
        echo '{"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}} {"execute": "quit"}'
    } | enter "$1" qemu-system-x86_64 -S -display none -nodefaults -machine q35 -qmp stdio \
        -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "${ports[@]}" >"$dir/qmp"
    if grep '"error"\|"name": "my-' "$dir/qmp"; then return; fi # an error, or a device that is not gone
    for kind in "${kinds[@]}"; do
        grep -q "\"DEVICE_DELETED\".*\"device\": \"my-$kind\"" "$dir/qmp" || echo "$kind"
    done | xargs
}

unpack bookworm 7.2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1
unpack "trixie trixie-backports" 11.1 qemu-system-x86=1:11.1.3+ds-1~bpo13+1
echo "added and removed again: ${kinds[*]}; none is left in /machine/peripheral"
expect "no DEVICE_DELETED with QEMU 7.2" "bochs-display ich9-intel-hda qemu-xhci nec-usb-xhci" "$(silent 7.2)"
expect "no DEVICE_DELETED with QEMU 10.0" "bochs-display ich9-intel-hda" "$(silent 10.0)"
expect "no DEVICE_DELETED with QEMU 11.1" "" "$(silent 11.1)"

exit "$changed"
