#!/bin/bash
# build.sh               build libvirt/ in build/libvirt, install it in build/prefix, and make build/venv with
#                        libvirt-python
# build.sh stock         build libvirt 11.3.0 without the series, to run beside that: its daemon has state directories
#                        of its own (build/stock/etc, run, var); ./run --stock CMD
# build.sh stock-shared  the same on the patched daemon's own state directories (build/etc, run, var): what someone
#                        finds who goes back to it; ./run --stock-shared CMD, and never both daemons at once
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
unset DESTDIR # of "make install", not of the private build
build=$top/build
tree=${1:-patched}

source=libvirt out=build state=$build
case $tree in
patched) ;;
stock) source=build/stock/libvirt out=build/stock/own state=$build/stock ;;
stock-shared) source=build/stock/libvirt out=build/stock/shared ;;
*) sed -n '2,/^set/{/^#/s/^# \?//p}' "$0" >&2; exit 2 ;;
esac
run=(./run)
[ "$tree" = patched ] || run+=("--$tree")

step() { printf '[%4ds] %s\n' $SECONDS "$*"; }
die() { printf 'build: %s\n' "$*" >&2; exit 1; }

mkdir -p build 2>/dev/null || true
[ -w build ] || die "$build is not writable for $(id -un): use a clone of your own"
case $top in *[[:space:]:,]*) die "the path of this checkout has a space, comma or colon: move it" ;; esac
"${run[@]}" --check-paths

# The venv is Debian's python, whatever else is first on PATH: python3-dev belongs to it.
python=/usr/bin/python3
[ -x $python ] || python=python3
if ! cmp -s tools/requirements.txt build/venv/requirements.txt; then
    step "Python packages"
    $python -m venv build/venv
    build/venv/bin/pip install -qq --disable-pip-version-check -r tools/requirements.txt ||
        die "pip failed: see above, and run 'make build' again"
    cp tools/requirements.txt build/venv/
fi
export PATH=$build/venv/bin:$PATH
export CCACHE_DIR=${CCACHE_DIR:-$build/ccache}
# Objects of build/libvirt are good for build/series and build/stock too: their relative paths are the same.
export CCACHE_BASEDIR=$top/${source%libvirt} CCACHE_NOHASHDIR=1

if [ "$tree" != patched ] && ! [ -e $source/meson.build ]; then
    step "Unpacking libvirt 11.3.0 in $source"
    rm -rf $source.new
    mkdir -p $source.new
    git -C libvirt archive v11.3.0 | tar -x -C $source.new
    # A submodule in upstream's own repository.
    cp -rn libvirt/subprojects/keycodemapdb/. $source.new/subprojects/keycodemapdb/
    mv $source.new $source
fi

# shellcheck source=tools/meson-options.sh
. tools/meson-options.sh
options=(
    "${meson_options[@]}"
    --prefix="$top/$out/prefix" --libdir=lib --sysconfdir="$state/etc" --localstatedir="$state/var"
    -Drunstatedir="$state/run" --buildtype=debugoptimized
)
# Nobody tests what was released.
[ "$tree" = patched ] || options+=(-Dtests=disabled -Ddocs=disabled)
# Configured again only when the options change; ninja sees changes of libvirt's meson files.
if [ "$(cat $out/libvirt/options 2>/dev/null)" != "${options[*]}" ]; then
    step "Configuring libvirt (log: $out/libvirt.log)"
    rm -rf $out/libvirt
    mkdir -p $out
    meson setup $out/libvirt $source "${options[@]}" >$out/libvirt.log 2>&1 || {
        grep ERROR: $out/libvirt.log >&2
        die "libvirt cannot be configured: see $out/libvirt.log; 'make deps' installs what it needs on Debian"
    }
    echo "${options[*]}" >$out/libvirt/options
fi

# Nothing to do is quickly said, and must leave a running private daemon alone.
# (ninja alone may have built since.)
if ! [ $out/prefix/installed -nt $out/libvirt/.ninja_log ] || ! ninja -C $out/libvirt -n | grep -q 'no work to do'; then
    step "Compiling libvirt"
    # ninja's own progress on a terminal, else a line now and then.
    if [ -t 1 ]; then
        ninja -C $out/libvirt
    else
        ninja -C $out/libvirt | awk '
            /^\[[0-9]+\/[0-9]+\]/ { if (systime() < quiet_until) next; quiet_until = systime() + 20 }
            { print; fflush() }'
    fi || die "libvirt does not compile: see above"

    step "Installing in $out/prefix"
    # What is up on shared state is the patched daemon.
    [ "$tree" = stock-shared ] || "${run[@]}" --stop
    rm -f $out/prefix/installed
    meson install -C $out/libvirt --no-rebuild --only-changed --quiet >/dev/null || die "cannot install libvirt"
    # A private daemon must not make network bridges on the host just because it starts.
    rm -f "$state/etc/libvirt/qemu/networks/autostart/default.xml"
    touch $out/prefix/installed
fi
[ "$tree" = patched ] || exit 0

# libvirt-python's code is generated from libvirt's API description.
api=$(cat build/prefix/share/libvirt/api/*.xml | sha256sum)
if [ "$(cat build/venv/libvirt-api 2>/dev/null)" != "$api" ]; then
    step "Building libvirt-python"
    # Not from pip's cache: the library's path is compiled in.
    PKG_CONFIG_PATH=$build/prefix/lib/pkgconfig LDFLAGS=-Wl,-rpath,$build/prefix/lib \
        build/venv/bin/pip install -qq --disable-pip-version-check --no-cache-dir --force-reinstall \
        --no-binary libvirt-python libvirt-python==11.3.0 || die "cannot build libvirt-python: see above"
    echo "$api" >build/venv/libvirt-api
fi
step "Built: ./run virsh version"
