#!/bin/bash
# test-install.sh: 'make install' and 'make uninstall', below DESTDIR and then, for root, for real: on a copy-on-write view
# of this machine, where the installed daemon starts a guest that cannot eject anything. Nothing of it is left.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
prefix=/usr/local
export PREFIX=$prefix
files=(bin/virsh bin/virt-pci-hotplug sbin/virtqemud sbin/libvirtd lib/systemd/system/virtqemud.{service,socket} share/libvirt/schemas/domain.rng)

# shellcheck source=tools/lib.sh
. tools/lib.sh

# there ROOT: everything is installed; gone ROOT: nothing is but configuration and state
there() { for file in "${files[@]}"; do [ -e "$1$prefix/$file" ] || die "$1$prefix/$file was not installed"; done; }
gone() {
    for file in "${files[@]}"; do [ ! -e "$1$prefix/$file" ] || die "$1$prefix/$file was not removed"; done
    [ -e "$1/etc/libvirt/qemu.conf" ] || die "$1/etc/libvirt/qemu.conf was removed"
}

inside() {
    step "For real: install, as on this machine"
    tools/install.sh install | tee /tmp/said
    there ""
    # What it says to do where nobody has been to run QEMU as.
    eval "$(sed -n 's/.*: \(useradd .*\)$/\1/p' /tmp/said)"
    tools/smoke.sh "$prefix/sbin/virtqemud" "$prefix"/bin/{virsh,virt-pci-hotplug}
    step "For real: install again, and uninstall"
    echo '# mine' >>/etc/libvirt/qemu.conf
    tools/install.sh install
    there ""
    tools/install.sh uninstall
    gone ""
    grep -q '^# mine' /etc/libvirt/qemu.conf || die "/etc/libvirt/qemu.conf was overwritten"
    [ -e /etc/libvirt/qemu/smoke.xml ] || die "the domain's definition was removed"
}

if [ "${1:-}" = inside ]; then
    inside
    exit 0
fi

step "Below DESTDIR"
dest=$top/build/host/dest
rm -rf "$dest"
DESTDIR=$dest tools/install.sh install
there "$dest"
DESTDIR=$dest tools/install.sh uninstall
gone "$dest"
left=$(find "$dest" ! -type d ! -path "$dest/etc/*" ! -path "$dest/var/*")
[ -z "$left" ] || die "these were not removed: $left"

[ "$(id -u)" = 0 ] || { step "Not run, as it takes root: the installed daemon"; exit 0; }
tools/view.sh / "$top" env -u LD_LIBRARY_PATH -u DESTDIR "$top/tools/test-install.sh" inside
step "Installed, used and uninstalled"
