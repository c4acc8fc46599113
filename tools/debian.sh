#!/bin/bash
# debian.sh SUITE DIR VARIANT [PACKAGE...]: have a Debian (bookworm, trixie) in DIR, from this machine's mirror, as
# debootstrap's VARIANT and with these packages. Takes root. What is there is kept, unless other packages are wanted.
# FOREIGN=arm64 in the environment: of that architecture, and unpacked by the dpkg in TOOLS, another such directory. Its
# own programs do not run here, so "dpkg --configure -a" in it is left to do. Not for bookworm, some of whose packages
# have files in /bin instead of /usr/bin.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=$1 root=$2 variant=$3
shift 3

# shellcheck source=tools/lib.sh
. tools/lib.sh

packages=$(IFS=, && echo "$*")
[ "$packages" != "$(cat "$root.complete" 2>/dev/null || echo none)" ] || exit 0
tools/deps.sh debootstrap
step "A Debian ($suite) in $root (log: $root.log)"
rm -rf "$root" "$root.complete"
mkdir -p "$(dirname "$root")"
sources=$(dirname "$(tools/apt-private.sh deb "$suite" "$suite-security")")/sources.list
uri=$(sed -n "s/^deb \[[^]]*\] \([^ ]*\) $suite main\$/\1/p" "$sources")
debootstrap --variant="$variant" ${FOREIGN:+--arch="$FOREIGN" --download-only} ${packages:+--include="$packages"} \
    "$suite" "$root" "$uri" >"$root.log" 2>&1 || die "see $root.log"
if [ "${FOREIGN-}" ]; then
    mkdir -p "$root/var/lib/dpkg"
    touch "$root/var/lib/dpkg/status"
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount sh -euc 'mount --bind "$1" "$2/mnt" && chroot "$2" dpkg --root=/mnt --force-architecture \
        --force-depends --force-script-chrootless --force-unsafe-io --recursive --unpack /mnt/var/cache/apt/archives' \
        sh "$root" "$TOOLS" >>"$root.log" 2>&1 || die "see $root.log"
    rm -r "$root"/var/cache/apt/archives/*.deb "$root/debootstrap"
fi
cp "$sources" "$root/etc/apt/sources.list"
echo "$packages" >"$root.complete"
