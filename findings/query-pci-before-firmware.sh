#!/bin/bash
# QEMU's query-pci leaves out every device behind a port or bridge until firmware has run.
#
# The guess: query-pci asks QEMU which PCI devices there are, so a machine that is paused before its first instruction (-S, as
# libvirt starts each guest) lists what the command line made.
# The fact: QEMU walks the buses by the numbers in the bridges' registers, which the guest's firmware writes. Before that the
# port is listed, and a device behind it is not, though it exists (qom-list shows it). Two identical queries, seconds apart and
# without any hotplug between them, differ. QEMU 7.2, 10.0 and 11.1 agree.
# Why it matters: a check that takes "not in query-pci" for "was unplugged" reports removals that never happened, on a paused
# guest and again for a moment after each reset.

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

# listed ROOT SECONDS OPTION...: the ids of our devices that query-pci lists after so many seconds, then those that exist.
listed() {
    local root=$1 seconds=$2
    shift 2
    {
        sleep "$seconds"
        echo '{"execute": "qmp_capabilities"} {"execute": "query-pci"}'
        echo '{"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}} {"execute": "quit"}'
    } | enter "$root" qemu-system-x86_64 "$@" -display none -nodefaults -machine q35 -qmp stdio \
        -device pcie-root-port,id=port1,chassis=1 -device virtio-rng-pci,id=rng,bus=port1 >"$dir/qmp"
    echo "query-pci: $(grep -o '"qdev_id": "[^"]\+"' "$dir/qmp" | cut -d '"' -f 4 | sort | xargs)," \
        "qom-list: $(grep -o '"name": "[^"]*"' "$dir/qmp" | cut -d '"' -f 4 | grep -v type | sort | xargs)"
}

unpack bookworm 7.2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1
unpack "trixie trixie-backports" 11.1 qemu-system-x86=1:11.1.3+ds-1~bpo13+1
for version in 7.2 10.0 11.1; do
    expect "QEMU $version, paused from the start" "query-pci: port1, qom-list: port1 rng" "$(listed $version 0 -S)"
    expect "QEMU $version, 5 s later with SeaBIOS" "query-pci: port1 rng, qom-list: port1 rng" "$(listed $version 5)"
done

exit "$changed"
