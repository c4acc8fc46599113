#!/bin/bash
# trixie.sh DIR VARIANT: have a Debian 13 in DIR, from this machine's mirror, as debootstrap's VARIANT. Takes root.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1 variant=$2

# shellcheck source=tools/lib.sh
. tools/lib.sh

[ ! -e "$root.complete" ] || exit 0
tools/deps.sh debootstrap
step "A Debian 13 in $root (log: $root.log)"
rm -rf "$root"
mkdir -p "$(dirname "$root")"
sources=$(dirname "$(tools/apt-private.sh deb trixie trixie-security)")/sources.list
uri=$(sed -n 's/^deb \[[^]]*\] \([^ ]*\) trixie main$/\1/p' "$sources")
debootstrap --variant="$variant" trixie "$root" "$uri" >"$root.log" 2>&1 || die "see $root.log"
cp "$sources" "$root/etc/apt/sources.list"
touch "$root.complete"
