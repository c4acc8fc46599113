#!/bin/sh
# deps.sh [demo | PACKAGE...]: install those Debian packages that are missing; by default all of tools/debian-packages.txt,
# for the demo its first part.
set -eu
cd "$(dirname "$0")/.."

if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian system: install the equivalents of tools/debian-packages.txt yourself" >&2
    exit 0
fi
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "${VERSION_ID:-99}")
[ "$*" = demo ] && demo=1 && shift || demo=
wanted=${*:-$(awk -v release="$release" -v demo="$demo" '/^check:/ { if (demo) exit; next } !/^(#|$)/ {
    if (split($1, of, ":") == 1) print $1
    else if (release >= of[1]) print of[2]
}' tools/debian-packages.txt)}
missing=
for package in $wanted; do
    case $(dpkg-query -W -f ' ${db:Status-Status} ' "$package" 2>/dev/null) in
    *" installed "*) ;; # not "not-installed"
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

# --no-remove: never trade a package of the user's for one of ours.
install="apt-get install -y --no-install-recommends --no-remove$missing"
if [ "$(id -u)" = 0 ]; then
    sudo=
elif sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    printf 'Debian packages are missing. Run this, then try again:\n\n    sudo apt-get update && sudo %s\n\n' "$install" >&2
    exit 1
fi
echo "Installing Debian packages:$missing"
$sudo apt-get -q update
# shellcheck disable=SC2086  # a command line, to be split
$sudo env DEBIAN_FRONTEND=noninteractive $install
