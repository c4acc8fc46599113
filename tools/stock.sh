#!/bin/bash
# stock.sh [TARGET...]: build the daemons (and TARGETs) of stock libvirt 11.3.0 in build/stock, to compare with:
# './run --stock CMD' uses them. They have the options and directories of the patched ones, so that they take over those
# ones' guests, and run from their build directory; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$PWD/build
meson=$build/stock/build/libvirt # as far from its sources as build/libvirt is from libvirt/: ccache can help

export PATH=$build/venv/bin:$PATH
export CCACHE_DIR=${CCACHE_DIR:-$build/ccache} CCACHE_BASEDIR=$build/stock CCACHE_NOHASHDIR=1
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
if [ "$(cat build/stock/options 2>/dev/null)" != "${options[*]}" ]; then
    rm -rf build/stock/libvirt build/stock/build
    tarball=$(tools/fetch.sh)
    mkdir build/stock/libvirt
    tar -xf "$tarball" -C build/stock/libvirt --strip-components=1
    meson setup "$meson" build/stock/libvirt "${options[@]}"
    echo "${options[*]}" >build/stock/options
fi
ninja --quiet -C "$meson" src/virtqemud src/libvirtd src/libvirt_driver_qemu.so src/libvirt_iohelper "$@"
