#!/bin/bash
# install.sh install|uninstall: libvirt with the series for this host, below DESTDIR if that is set.
#   PREFIX   where to (default /usr/local); configuration is in /etc, state in /var and /run, as upstream's packages have it
# install never overwrites a file in /etc or /var, and uninstall leaves those alone.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
prefix=${PREFIX:-/usr/local}
dest=${DESTDIR:-}
# What install wrote, for uninstall.
manifest=$dest$prefix/share/libvirt/hotplug-series.files

# shellcheck source=tools/lib.sh
. tools/lib.sh

units() { [ -n "$dest" ] || ! [ -d /run/systemd/system ] || systemctl daemon-reload; }

case ${1:-} in
install) ;;
uninstall)
    [ -e "$manifest" ] || die "$manifest is missing: nothing was installed there by 'make install PREFIX=$prefix'"
    while IFS= read -r file; do
        rm -f "$dest$file"
        rmdir -p --ignore-fail-on-non-empty "$(dirname "$dest$file")" 2>/dev/null || true
    done <"$manifest"
    rm -f "$manifest"
    units
    step "Uninstalled. Configuration and guests in $dest/etc/libvirt and $dest/var/lib/libvirt are as they were."
    exit 0
    ;;
*) die "usage: tools/install.sh install|uninstall" ;;
esac

build=$top/build/host
options=(
    --prefix="$prefix" --sysconfdir=/etc --localstatedir=/var -Drunstatedir=/run --buildtype=release
    -Dinit_script=systemd -Ddriver_qemu=enabled -Dtests=disabled -Ddocs=enabled -Dgit_werror=disabled
)
export PATH=$top/build/venv/bin:$PATH
# With sudo in a user's clone: that user has to be able to build, install elsewhere and clean after it.
trap 'chown -R --reference=build build/host build/host.log build/ccache 2>/dev/null || true' EXIT
step "Compiling for $prefix (log: build/host.log)"
configure "$build" libvirt "${options[@]}" >build/host.log 2>&1 || die "see build/host.log"
ninja -C "$build" >>build/host.log 2>&1 || die "see build/host.log"

step "Installing in $dest$prefix"
stage=$build/stage
rm -rf "$stage"
DESTDIR=$stage meson install -C "$build" --no-rebuild --quiet >>build/host.log 2>&1 || die "see build/host.log"
files=$(cd "$stage" && find . ! -type d -printf '/%P\n' | sort)
kept=
# Empty directories are state, with their modes.
(cd "$stage" && find . -mindepth 1 -type d -empty -printf '/%P\n') | while IFS= read -r directory; do
    [ -e "$dest$directory" ] || { mkdir -p "$dest${directory%/*}"; cp -a "$stage$directory" "$dest$directory"; }
done
mkdir -p "${manifest%/*}"
: >"$manifest.new"
while IFS= read -r file; do
    case $file in
    /etc/* | /var/*)
        if [ -e "$dest$file" ]; then
            cmp -s "$stage$file" "$dest$file" || kept+=" $file"
            continue
        fi
        ;;
    *) echo "$file" >>"$manifest.new" ;;
    esac
    mkdir -p "$dest${file%/*}"
    # Not in place: a running daemon has its libraries mapped.
    cp -a --remove-destination "$stage$file" "$dest$file"
done <<<"$files"
mv "$manifest.new" "$manifest"
[ -n "$dest" ] || ldconfig
units
user=$(sed -n 's/^#define QEMU_USER "\(.*\)"$/\1/p' "$build/meson-config.h")
kvm=
if getent group kvm >/dev/null; then kvm=' --groups kvm'; fi
[ -n "$dest" ] || getent passwd "$user" >/dev/null ||
    step "There is no user for QEMU yet: useradd --system --user-group$kvm --no-create-home $user"
[ -z "$kept" ] || step "Kept although they differ:$kept"
step "Installed. Daemons that run are still the old ones: see docs/hosts.md"
