#!/bin/bash
# foreign.sh COMMAND...: run a command for which programs of aarch64 run, too, by QEMU. Only it sees that: it is in a user
# namespace with binfmt_misc of its own, which takes Linux 6.7. Takes root.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$PWD/build/qemu-user
mkdir -p "$dir"

exec 8>"$dir/lock"
flock 8
if ! [ -x "$dir/qemu-aarch64" ]; then
    (cd "$dir" && APT_CONFIG=$("$OLDPWD/tools/apt-private.sh" deb bookworm) apt-get -q download qemu-user-static) >"$dir/log"
    dpkg --fsys-tarfile "$dir"/*.deb | tar -xO ./usr/bin/qemu-aarch64-static >"$dir/new"
    chmod +x "$dir/new"
    rm "$dir"/*.deb
    mv "$dir/new" "$dir/qemu-aarch64"
fi
flock -u 8

magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
rule=":aarch64:M::$magic:$mask:$dir/qemu-aarch64:F"
# shellcheck disable=SC2016  # expanded by the inner shell
inner='
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    printf %s "$1" >/proc/sys/fs/binfmt_misc/register
    shift
    exec "$@"'
go=$(mktemp -u "$dir/go.XXXXXX")
mkfifo "$go"
trap 'rm -f "$go"' EXIT
# shellcheck disable=SC2016
unshare --user sh -c 'read -r _ <"$0" && exec unshare --mount --pid --fork --kill-child --mount-proc "$@"' "$go" \
    sh -euc "$inner" sh "$rule" "$@" <&0 &
# All users and groups are there as outside.
until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.1; done
echo 0 0 65536 >/proc/$!/uid_map
echo 0 0 65536 >/proc/$!/gid_map
echo >"$go"
wait $!
