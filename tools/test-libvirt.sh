#!/bin/bash
# test-libvirt.sh BUILDDIR [TEST...]: run libvirt's whole test suite, with its syntax-check, on a build of it; or some TESTs,
# after building what they need.
# Results: BUILDDIR/meson-logs/testlog.junit.xml
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

# vshtabletest needs this locale, and a minimal Debian has none.
locales=$top/build/locale
if ! [ -e "$locales/en_US.UTF-8" ]; then
    mkdir -p "$locales"
    localedef -i en_US -f UTF-8 "$locales/en_US.UTF-8"
fi
export LOCPATH=$locales

# syntax-check looks at every file in git. keycodemapdb, another project's code, is a submodule upstream; the import
# of the release tarball has its files, which would fail 14 checks. libvirt's own list of such files, with it added
# (-e: the environment wins over the makefile):
export MAKEFLAGS=e VC_LIST_ALWAYS_EXCLUDE_REGEX='\.(po|ico|png)$$|^subprojects/keycodemapdb/'

# Tests that look up the user's directories must not find this machine's.
unset LIBVIRT_DEFAULT_URI XDG_RUNTIME_DIR

# One more than cores: a few tests sleep.
export MESON_TESTTHREADS=$(($(nproc) + 1)) PATH=$top/build/venv/bin:$PATH
build=$1
shift
rm -f "$build/meson-logs/testlog.junit.xml"
# The time limits are for fast machines.
exec meson test -C "$build" --print-errorlogs --timeout-multiplier 5 "$@"
