#!/bin/bash
# The same virtio device has another PCI ID, and takes other options, on pcie.0 than behind a PCIe port.
#
# The guess: q35 is PCI Express, so a virtio device there is a modern one (1af4:1044 for a virtio-rng-pci) wherever it is put,
# and an option like iommu_platform=on works for it or does not.
# The fact: disable-legacy is "auto", and QEMU decides by the bus. Directly on pcie.0 the device is transitional (1af4:1005),
# and iommu_platform=on (libvirt: <driver iommu='on'/>) stops QEMU from starting. Behind a pcie-root-port it is modern, and
# the same option works. On pcie.0 it does with disable-legacy=on. QEMU 7.2, 10.0 and 11.1 agree.
# Why it matters: moving a device between the two, which changes nothing else in its XML, changes which driver a guest without
# virtio 1.0 finds, breaks rules that match on PCI IDs (udev, driverctl, Windows' hardware IDs), and can end in a guest that
# does not start.

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

# identity ROOT OPTIONS: start a machine with a virtio-rng-pci and print its PCI ID, or why QEMU does not start.
identity() {
    # SeaBIOS needs a moment to number the bus behind the port, and QEMU shows no device there before.
    { sleep 3; echo '{"execute": "qmp_capabilities"} {"execute": "query-pci"} {"execute": "quit"}'; } |
        enter "$1" qemu-system-x86_64 -display none -nodefaults -machine q35 -qmp stdio \
            -device pcie-root-port,id=port1,chassis=1 -device "virtio-rng-pci,id=rng,$2" >"$dir/qmp" 2>"$dir/errors" ||
        { sed 's/.*id=rng[^:]*: //' "$dir/errors"; return; }
    python3 - "$dir/qmp" <<'END'
import json, sys
answers = [json.loads(line) for line in open(sys.argv[1])]
devices = [d for a in answers if isinstance(a.get("return"), list) for bus in a["return"] for d in bus["devices"]]
devices += [behind for d in devices for behind in d.get("pci_bridge", {}).get("devices", [])]
print(*("%04x:%04x" % (d["id"]["vendor"], d["id"]["device"]) for d in devices if d["qdev_id"] == "rng"))
END
}

unpack bookworm 7.2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1
unpack "trixie trixie-backports" 11.1 qemu-system-x86=1:11.1.3+ds-1~bpo13+1
refused="VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional device"
for version in 7.2 10.0 11.1; do
    expect "QEMU $version, on pcie.0" 1af4:1005 "$(identity $version bus=pcie.0)"
    expect "QEMU $version, behind a port" 1af4:1044 "$(identity $version bus=port1)"
    expect "QEMU $version, on pcie.0 with iommu_platform=on" "$refused" "$(identity $version bus=pcie.0,iommu_platform=on)"
    expect "QEMU $version, behind a port with iommu_platform=on" 1af4:1044 "$(identity $version bus=port1,iommu_platform=on)"
    expect "QEMU $version, on pcie.0 with disable-legacy=on too" 1af4:1044 \
        "$(identity $version bus=pcie.0,iommu_platform=on,disable-legacy=on)"
done

exit "$changed"
