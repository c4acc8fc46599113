#!/bin/bash
# Build libvirt/ in build/libvirt, install it in build/prefix, and make build/venv with libvirt-python.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
unset DESTDIR # of "make install", not of the private build
build=$top/build

# shellcheck source=tools/lib.sh
. tools/lib.sh

mkdir -p build 2>/dev/null || true
[ -w build ] || die "$build is not writable for $(id -un): use a clone of your own"

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
# Debian's clients need Debian's packages, but take the first python3 on PATH, which ./run makes the venv's.
for client in virt-install virt-xml virt-clone virt-manager; do
    printf '#!/bin/sh\nexec %s /usr/bin/%s "$@"\n' $python $client >build/venv/bin/$client
    chmod +x build/venv/bin/$client
done
export PATH=$build/venv/bin:$PATH

# shellcheck source=tools/meson-options.sh
. tools/meson-options.sh
options=(
    "${meson_options[@]}"
    --prefix="$build/prefix" --libdir=lib --sysconfdir="$build/etc" --localstatedir="$build/var"
    -Drunstatedir="$build/run" --buildtype=debugoptimized
)
configure build/libvirt libvirt "${options[@]}" >build/libvirt.log 2>&1 || {
    grep ERROR: build/libvirt.log >&2
    die "libvirt cannot be configured: see build/libvirt.log; 'make deps' installs what it needs on Debian"
}

# Nothing to do is quickly said, and must leave a running private daemon alone.
# (ninja alone may have built since.)
newer() { [ "$(find build/libvirt/src build/libvirt/tools -maxdepth 1 -type f -newer build/prefix/installed -print -quit)" ]; }
if ! [ -e build/prefix/installed ] || newer || ! ninja -C build/libvirt -n | grep -q 'no work to do'; then
    step "Compiling libvirt"
    # ninja's own progress on a terminal, else a line now and then.
    if [ -t 1 ]; then
        ninja -C build/libvirt
    else
        ninja -C build/libvirt | awk '
            /^\[[0-9]+\/[0-9]+\]/ { if (systime() < quiet_until) next; quiet_until = systime() + 20 }
            { print; fflush() }'
    fi || die "libvirt does not compile: see above"

    step "Installing in build/prefix"
    ./run --stop
    rm -f build/prefix/installed
    meson install -C build/libvirt --no-rebuild --only-changed --quiet >/dev/null || die "cannot install libvirt"
    # A private daemon must not make network bridges on the host just because it starts.
    rm -f build/etc/libvirt/qemu/networks/autostart/default.xml
    touch build/prefix/installed
fi

# libvirt-python's code is generated from libvirt's API description.
api=$(cat build/prefix/share/libvirt/api/*.xml | sha256sum)
if [ "$(cat build/venv/libvirt-api 2>/dev/null)" != "$api" ]; then
    step "Building libvirt-python"
    # Not from pip's cache: the library's path is compiled in.
    PKG_CONFIG_PATH=$build/prefix/lib/pkgconfig LDFLAGS=-Wl,-rpath,$build/prefix/lib \
        build/venv/bin/pip install -qq --disable-pip-version-check --no-cache-dir --force-reinstall \
        --no-binary libvirt-python "libvirt-python==$version" || die "cannot build libvirt-python: see above"
    echo "$api" >build/venv/libvirt-api
fi
step "Built: ./run virsh version"
