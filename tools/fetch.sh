#!/bin/sh
# Bring libvirt's release tarball to build/libvirt-VERSION.tar.xz and print its path. It comes from
# LIBVIRT_TARBALL, else from Debian's source package, else from upstream.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=tools/libvirt.version
. tools/libvirt.version
tarball=$PWD/build/libvirt-$version.tar.xz

good() { echo "$sha256  $1" | sha256sum --check --status 2>/dev/null; }
keep() { cp "$1" "$tarball.new" && mv "$tarball.new" "$tarball"; }

from_debian() {
    command -v apt-get >/dev/null || return 1
    conf=$(tools/apt-private.sh deb-src trixie) || return 1
    mkdir -p build/apt/src
    (cd build/apt/src && APT_CONFIG=$conf apt-get -q source --download-only --tar-only libvirt) >&2 || return 1
    good build/apt/src/libvirt_$version.orig.tar.xz && keep build/apt/src/libvirt_$version.orig.tar.xz
}

from_upstream() {
    url=https://download.libvirt.org/libvirt-$version.tar.xz
    echo "Fetching $url" >&2
    python3 - "$url" build/download <<'EOF' || return 1
import sys, urllib.request
try:
    urllib.request.urlretrieve(sys.argv[1], sys.argv[2])
except OSError as error:
    sys.exit(str(error))
EOF
    good build/download && keep build/download
}

mkdir -p build
if [ -n "${LIBVIRT_TARBALL:-}" ]; then
    good "$LIBVIRT_TARBALL" || {
        echo "LIBVIRT_TARBALL=$LIBVIRT_TARBALL is not libvirt-$version.tar.xz with sha256 $sha256" >&2
        exit 1
    }
    keep "$LIBVIRT_TARBALL"
elif ! good "$tarball"; then
    echo "Fetching libvirt $version" >&2
    from_debian || from_upstream || {
        echo "Cannot fetch libvirt $version: download libvirt-$version.tar.xz elsewhere and run" >&2
        echo "    make source LIBVIRT_TARBALL=/path/to/libvirt-$version.tar.xz" >&2
        exit 1
    }
fi
echo "$tarball"
