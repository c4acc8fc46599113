#!/bin/bash
# debian.sh SUITE DIR VARIANT [PACKAGE...]: have a Debian (bookworm, trixie) in DIR, from this machine's mirror, as
# debootstrap's VARIANT and with these packages; ARCH=arm64 in the environment: of that architecture. Takes root.
# What is there is kept, unless other packages are wanted.
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
foreign=
[ "${ARCH:-amd64}" = amd64 ] || foreign=--foreign
debootstrap --arch="${ARCH:-amd64}" $foreign --variant="$variant" ${packages:+--include="$packages"} "$suite" "$root" \
    "$uri" >"$root.log" 2>&1 || die "see $root.log"
if [ "$foreign" ]; then
    # Its user namespace may not make devices, which debootstrap knows of such containers.
    cp -a /dev/{null,zero,full,random,urandom,tty,console,ptmx} "$root/dev/"
    tools/foreign.sh env container=lxc chroot "$root" /debootstrap/debootstrap --second-stage >>"$root.log" 2>&1 || die "see $root.log"
fi
cp "$sources" "$root/etc/apt/sources.list"
echo "$packages" >"$root.complete"
