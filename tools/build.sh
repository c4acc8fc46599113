#!/bin/bash
# build.sh [demo|optimized]: build libvirt/ in build/libvirt, and make build/venv with libvirt-python against it. ./run
# runs it there: nothing is installed.
#   demo       just what the demo needs; without it the same directories are completed
#   optimized  the daemon for make bench, in build/optimized
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
build=$top/build
mode=${1:-}

# shellcheck source=tools/lib.sh
. tools/lib.sh
# shellcheck source=tools/meson-options.sh
. tools/meson-options.sh

mkdir -p build 2>/dev/null || true
[ -w build ] || die "$build is not writable for $(id -un): use a clone of your own"

# Beside the Python packages; libvirt/ as it is, only an empty one is filled.
tools/series.py source --if-missing &
source=$!
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

# The venv is Debian's python, whatever else is first on PATH: python3-dev belongs to it.
python=/usr/bin/python3
[ -x $python ] || python=python3
requirements=tools/requirements.txt
[ "$mode" != demo ] || requirements=tools/requirements-build.txt
have=build/venv/${requirements##*/}
if ! cat tools/requirements*.txt | cmp -s - "$have"; then
    step "Python packages"
    [ -x build/venv/bin/pip ] || $python -m venv build/venv
    build/venv/bin/pip install -qq --disable-pip-version-check --no-compile -r $requirements ||
        die "pip failed: see above, and run 'make build' again"
    cat tools/requirements*.txt >"$have"
fi
# Debian's clients need Debian's packages, but take the first python3 on PATH, which ./run makes the venv's.
for client in virt-install virt-xml virt-clone virt-manager; do
    printf '#!/bin/sh\nexec %s /usr/bin/%s "$@"\n' $python $client >build/venv/bin/$client
    chmod +x build/venv/bin/$client
done
export PATH=$build/venv/bin:$PATH
wait $source

# compile DIRECTORY TARGET...: nothing to do is quickly said, and must leave a running private daemon alone.
compile() {
    local directory=$1
    shift
    ! ninja -C "$directory" -n "$@" | grep -q 'no work to do' || return 0
    step "Compiling libvirt"
    ./run --stop
    # ninja's own progress on a terminal, else a line now and then.
    if [ -t 1 ]; then
        ninja -C "$directory" "$@"
    else
        ninja -C "$directory" "$@" | awk '
            /^\[[0-9]+\/[0-9]+\]/ { if (systime() < quiet_until) next; quiet_until = systime() + 20 }
            { print; fflush() }'
    fi || die "libvirt does not compile: see above"
}

if [ "$mode" = optimized ]; then
    configure build/optimized libvirt "${meson_options[@]}" "${meson_optimized[@]}" >build/optimized.log 2>&1 ||
        die "libvirt cannot be configured: see build/optimized.log"
    compile build/optimized "${run_targets[@]}"
    exit
fi

if [ "$mode" = demo ]; then
    # What it has to fetch comes meanwhile; if it cannot, the demo tries again and says why.
    build/venv/bin/python3 -m integration.guest.image x86_64 >build/guest.log 2>&1 &
fi
configure build/libvirt libvirt "${meson_options[@]}" >build/libvirt.log 2>&1 || {
    grep ERROR: build/libvirt.log >&2
    die "libvirt cannot be configured: see build/libvirt.log; 'make deps' installs what it needs on Debian"
}
targets=()
[ "$mode" != demo ] || targets=("${run_targets[@]}" "${python_targets[@]}")
compile build/libvirt "${targets[@]}"
# Only installed it could be executed; it looks for the schemas where they would be installed.
install -m 755 build/libvirt/tools/virt-xml-validate build/venv/bin/
mkdir -p build/prefix/share/libvirt
ln -sfn ../../../../libvirt/src/conf/schemas build/prefix/share/libvirt/schemas

# libvirt-python's code is generated from libvirt's API description.
api=$(cat build/libvirt/docs/libvirt*-api.xml | sha256sum)
if [ "$(cat build/venv/libvirt-api 2>/dev/null)" != "$api" ]; then
    step "Building libvirt-python"
    # Not from pip's cache: the library's path is compiled in.
    CFLAGS=-O0 PKG_CONFIG_PATH=$build/libvirt/src LDFLAGS=-Wl,-rpath,$build/libvirt/src \
        build/venv/bin/pip install -qq --disable-pip-version-check --no-cache-dir --force-reinstall \
        --no-binary libvirt-python "libvirt-python==$version" || die "cannot build libvirt-python: see above"
    echo "$api" >build/venv/libvirt-api
fi
wait
step "Built: ./run virsh version"
