#!/bin/sh
# apt-private.sh deb|deb-src SUITE...: set up a private apt configuration under build/ that reads the suites from the
# machine's own Debian mirror, update its lists, and print the path to use as APT_CONFIG.
# The machine's own apt state is not changed; root is not needed. APT_ARCH in the environment is Debian's name
# of another architecture.
set -eu
type=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)/build/apt/${APT_ARCH:+$APT_ARCH-}$1
mkdir -p "$root/lists/partial" "$root/cache/archives/partial"
cat >"$root/apt.conf" <<EOF
Dir::Etc::SourceList "$root/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$root/lists";
Dir::Cache "$root/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Retries "2";
Acquire::http::Timeout "60";
Acquire::Languages "none";
EOF
if [ "${APT_ARCH-}" ]; then
    : >"$root/status"
    cat >>"$root/apt.conf" <<EOF
APT::Architecture "$APT_ARCH";
APT::Architectures "$APT_ARCH";
Dir::State::Status "$root/status";
EOF
fi

# Take every configured mirror that has the suite. --print-uris works before the first "apt-get update" too.
update() { APT_CONFIG=$root/apt.conf apt-get -q update --error-on=any >"$root/update.log" 2>&1; }
good=
for suite in "$@"; do
    found=
    for uri in $(apt-get update --print-uris | sed -n "s|^'\(.*\)/dists/.*/InRelease'.*|\1|p" | sort -u); do
        line="$type [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
        echo "$line" >"$root/sources.list"
        if update; then
            found=yes good="$good$line
"
        fi
    done
    [ "$found" ] || {
        echo "no mirror in this machine's apt sources offers Debian's $suite (see $root/update.log)" >&2
        exit 1
    }
done
printf %s "$good" >"$root/sources.list"
update
echo "$root/apt.conf"
