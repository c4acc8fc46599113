#!/bin/bash
# device_del of one function removes every function of its PCIe slot.
#
# The guess: QMP's device_del removes the device with the given id. Its three neighbours in a multifunction slot,
# which are unrelated devices with ids of their own, stay.
# The fact: behind a PCIe port with native hotplug all of them go, in the order of their functions, function 0 first, in QEMU
# 7.2, 10.0 and 11.1 alike. (That order is no rule: with ACPI hotplug QEMU 7.2 and 11.1 have been seen to end with function 0.)
# A warning is not given: the answer to device_del is an empty success.
# Why it matters: a client that packs disks into functions to save ports and detaches one of them takes the other disks out
# of a running guest. libvirt refuses to detach one function of several for this reason; raw QMP does not.
# How: no guest is needed. Devices that are added to an empty port while the machine is paused have their slot's power off, and
# QEMU then removes at once, instead of asking the guest.

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

# removed ROOT: put four devices into one slot, remove the third, and name those of which QEMU says that they are gone.
removed() {
    {
        echo '{"execute": "qmp_capabilities"}'
        for function in 3 2 1 0; do # function 0 last: from then on the slot is complete
            echo '{"execute": "device_add", "arguments": {"driver": "virtio-rng-pci", "id": "rng'$function'", "bus": "port1",
                   "addr": "0.'$function'", "multifunction": true}}'
        done
        echo '{"execute": "device_del", "arguments": {"id": "rng2"}}'
        sleep 2
        echo '{"execute": "quit"}'
    } | enter "$1" qemu-system-x86_64 -S -display none -nodefaults -machine q35 -qmp stdio \
        -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off -device pcie-root-port,id=port1,chassis=1 |
        sed -n 's/.*"DEVICE_DELETED".*"device": "\([^"]*\)".*/\1/p; s/.*"error".*/&/p' | xargs
}

unpack bookworm 7.2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1
unpack "trixie trixie-backports" 11.1 qemu-system-x86=1:11.1.3+ds-1~bpo13+1
for version in 7.2 10.0 11.1; do
    expect "QEMU $version: device_del of rng2 removes" "rng0 rng1 rng2 rng3" "$(removed $version)"
done

exit "$changed"
