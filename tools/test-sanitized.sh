#!/bin/bash
# test-sanitized.sh build   build libvirt/ in build/sanitized with the address and undefined-behaviour sanitizers, as far as
#                           needed, and run those of its tests that go through what the series changes. Results: build/sanitized/meson-logs/testlog.junit.xml
# test-sanitized.sh daemon PYTEST-ARG...
#                           run our own tests of definitions and running domains on the virtqemud of that build
# A report of a sanitizer fails the test that it came from; those of the daemon are in build/check/sanitizer.PID.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
build=$top/build/sanitized
# shellcheck source=tools/lib.sh
. tools/lib.sh

# The C library keeps the paths in LOCPATH. qemuDomainDetachDeviceConfig() of libvirt 11.3.0 itself forgets to free watchdogs
# and input devices.
cat >build/leaks.txt <<'EOF'
leak:argz_add_sep
leak:qemuDomainDetachDevice*LiveAndConfig
EOF
# The tests' own preloaded mocks come before the runtime.
export ASAN_OPTIONS=verify_asan_link_order=0:halt_on_error=1:abort_on_error=1:print_summary=1
export LSAN_OPTIONS=suppressions=$top/build/leaks.txt:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

if [ "${1:-}" = daemon ]; then
    shift
    rm -f build/check/sanitizer.*
    log=log_path=$top/build/check/sanitizer
    export ASAN_OPTIONS=$ASAN_OPTIONS:$log UBSAN_OPTIONS=$UBSAN_OPTIONS:$log
    ./run --stop
    code=0
    ./run --sanitized python3 -m pytest "$@" || code=$?
    # It looks for leaks when it ends.
    ./run --stop
    if compgen -G "build/check/sanitizer.*"; then
        cat build/check/sanitizer.*
        code=1
    fi
    exit $code
fi

# Just what the tests need, for time: the drivers that the series changes, and those that they use.
# shellcheck disable=SC2054
options=(
    --auto-features=disabled -Ddocs=disabled -Dbash_completion=disabled -Dwerror=false -Dgit_werror=disabled
    -Dtests=enabled -Dexpensive_tests=disabled
    -Ddriver_remote=enabled -Ddriver_libvirtd=enabled -Ddriver_qemu=enabled -Ddriver_test=enabled -Ddriver_vmware=enabled
    -Ddriver_network=enabled -Dstorage_dir=enabled
    -Dattr=enabled -Dcapng=enabled -Djson_c=enabled -Dlibnl=enabled -Dnumactl=enabled -Dpciaccess=enabled -Dudev=enabled
    -Dqemu_user=root -Dqemu_group=root
    --prefix="$top/build/prefix" --libdir=lib --sysconfdir="$top/build/etc" --localstatedir="$top/build/var"
    -Drunstatedir="$top/build/run"
    -Db_sanitize=address,undefined -Db_lundef=false --buildtype=plain -Doptimization=0 -Dc_args=-g1 -Dc_link_args=-fuse-ld=mold
)
export PATH=$top/build/venv/bin:$PATH
configure "$build" libvirt "${options[@]}"
ninja -C "$build" src/virtqemud src/libvirt_driver_qemu.so src/libvirt_iohelper
exec tools/test-libvirt.sh "$build" \
    genericxml2xmltest domainconftest domaincapstest metadatatest virshtest xml2vmxtest vmx2xmltest \
    qemuxmlconftest qemuxmlactivetest qemuhotplugtest qemumemlocktest qemusecuritytest qemumigrationcookiexmltest \
    qemudomainsnapshotxml2xmltest qemudomaincheckpointxml2xmltest
