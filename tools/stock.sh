#!/bin/bash
# stock.sh [TARGET...]: build the daemons (and TARGETs) of stock libvirt in build/stock, to compare with:
# './run --stock CMD' uses them. They have the options and directories of the patched ones, so that they take over those
# ones' guests, and run from their build directory; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$PWD/build
# shellcheck source=tools/lib.sh
. tools/lib.sh
meson=$build/stock/build/libvirt # as far from its sources as build/libvirt is from libvirt/: ccache can help

export PATH=$build/venv/bin:$PATH
export CCACHE_BASEDIR=$build/stock
# shellcheck source=tools/meson-options.sh
. tools/meson-options.sh
options=(
    "${meson_options[@]}" -Dtests=disabled -Ddocs=disabled -Dnls=disabled
    --prefix="$build/stock/prefix" --libdir=lib --sysconfdir="$build/etc" --localstatedir="$build/var"
    -Drunstatedir="$build/run" --buildtype=debugoptimized
)
mkdir -p build/stock
exec 9>build/stock/lock
flock 9
if ! [ -e build/stock/libvirt-$version ]; then
    rm -rf build/stock/libvirt
    tarball=$(tools/fetch.sh)
    mkdir build/stock/libvirt
    tar -xf "$tarball" -C build/stock/libvirt --strip-components=1
    touch build/stock/libvirt-$version
fi
configure "$meson" build/stock/libvirt "${options[@]}"
ninja --quiet -C "$meson" src/virtqemud src/libvirtd src/libvirt_driver_qemu.so src/libvirt_iohelper "$@"
