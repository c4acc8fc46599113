#!/bin/bash
# debian.sh SUITE DIR VARIANT [PACKAGE...]: have a Debian (bookworm, trixie) in DIR, from this machine's mirror, as
# debootstrap's VARIANT and with these packages. Takes root. What is there is kept, unless other packages are wanted.
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
debootstrap --variant="$variant" ${packages:+--include="$packages"} "$suite" "$root" "$uri" >"$root.log" 2>&1 ||
    die "see $root.log"
cp "$sources" "$root/etc/apt/sources.list"
echo "$packages" >"$root.complete"
