#!/bin/bash
# stock.sh [optimized]: build the daemons of stock libvirt in build/stock, to compare with: './run --stock CMD' uses them.
# They have the options and directories of the patched ones, so that they take over those ones' guests, and run from their
# build directory; nothing is installed. Optimized ones are for make bench.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$PWD/build
# shellcheck source=tools/lib.sh
. tools/lib.sh
# shellcheck source=tools/meson-options.sh
. tools/meson-options.sh

export PATH=$build/venv/bin:$PATH
export CCACHE_BASEDIR=$build/stock
options=("${meson_options[@]}" -Dtests=disabled -Ddocs=disabled)
targets=(src/virtqemud src/libvirtd src/libvirt_driver_qemu.so src/libvirt_iohelper)
meson=$build/stock/build/libvirt # as far from its sources as build/libvirt is from libvirt/: ccache can help
if [ "${1:-}" = optimized ]; then
    options+=("${meson_optimized[@]}")
    targets+=(tools/virsh)
    meson=$build/stock/build/optimized
fi
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
ninja --quiet -C "$meson" "${targets[@]}"
