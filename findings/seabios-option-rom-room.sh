#!/bin/bash
# SeaBIOS has room for the boot ROMs of 13 to 22 network cards; which number depends on the ROM, and newer is fewer.
#
# The guess: a PC boots from any of its network cards, whichever has bootindex=1; the number of cards is limited by slots.
# The fact: option ROMs are copied below 1 MiB in the order of PCI addresses, bootindex or not. With virtio cards and the ROMs
# that Debian ships, 22 fit with QEMU 7.2, 13 with 10.0, and 15 with 11.1. SeaBIOS skips the others with a line on its debug
# port alone ("Unable to allocate resource at copy_rom"), and none of them can boot from the network.
# Why it matters: a guest that boots by PXE from its last card stops doing so after an upgrade of the host, or when cards are
# added at lower addresses, without any message in the log of QEMU or libvirt. (romfile='' on the other cards frees the room.)

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

# skipped ROOT: start a machine with 30 cards and count the ROMs that SeaBIOS found no room for.
skipped() {
    local cards=() number
    for number in {1..30}; do cards+=(-netdev "hubport,hubid=0,id=net$number" -device "virtio-net-pci,netdev=net$number"); done
    # SeaBIOS comes to "Booting from ..." only when it has looked at all ROMs.
    {
        echo '{"execute": "qmp_capabilities"}'
        for number in {1..60}; do
            sleep 1
            if grep -qs '^Booting from' "$dir/$1/tmp/seabios"; then break; fi
        done
        echo '{"execute": "quit"}'
    } | enter "$1" qemu-system-x86_64 -display none -nodefaults -machine q35 -m 128 -qmp stdio "${cards[@]}" \
        -chardev file,id=log,path=/tmp/seabios -device isa-debugcon,iobase=0x402,chardev=log >/dev/null
    grep -q '^Booting from' "$dir/$1/tmp/seabios" && grep -c 'Unable to allocate resource at copy_rom' "$dir/$1/tmp/seabios"
}

unpack bookworm 7.2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1
unpack "trixie trixie-backports" 11.1 qemu-system-x86=1:11.1.3+ds-1~bpo13+1
expect "of 30 cards' ROMs SeaBIOS skips, with QEMU 7.2" 8 "$(skipped 7.2)"
expect "of 30 cards' ROMs SeaBIOS skips, with QEMU 10.0" 17 "$(skipped 10.0)"
expect "of 30 cards' ROMs SeaBIOS skips, with QEMU 11.1" 15 "$(skipped 11.1)"

exit "$changed"
