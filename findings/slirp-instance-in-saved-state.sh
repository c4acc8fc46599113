#!/bin/bash
# A user network that is removed and added again makes the saved state of QEMU 10.0 unloadable by the same command line.
#
# The guess: QEMU's user network (slirp) is the host's side of a card, so the state of a saved guest does not depend on it;
# whoever loads it gives the same networks on the command line, and the order in which they once came does not matter.
# The fact: slirp saves a section of its own for each network, with an instance number. When the first of two networks is removed
# and a third is added, QEMU 10.0 and 11.1 save the numbers 1 and 2, and a machine that starts with these two networks has 0 and 1:
# "Unknown section or instance 'slirp' 2". QEMU 7.2 loads what it saved in the same way. (Where the second of two is replaced
# all three load it.)
# Why it matters: hot-plugging a card with a user network, and saving the guest, leaves a file that cannot be restored, which
# one learns when it is too late; the save succeeds.

set -euo pipefail
changed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# unpack "SUITE..." ROOT PACKAGE[=VERSION]...: unpack the packages of the last suite, and all that they depend on, below
# $dir/ROOT. The suites are read from the machine's own Debian mirror, with a private apt that starts from no installed package.
unpack() {
    local suites=$1 root=$dir/$2 apt=$dir/apt-$2 suite mirror deb
    shift 2
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,tmp} "$apt"/{lists/partial,cache/archives/partial}
    for deb in bin sbin lib lib64; do ln -sfn "usr/$deb" "$root/$deb"; done
    mirror=$(apt-get update --print-uris | sed -n "s|^'\(.*/debian\)/dists/.*/InRelease'.*|\1|p" | head -n 1)
    for suite in $suites; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$apt/list"
    cat >"$apt/conf" <<END
Dir::Etc::SourceList "$apt/list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "$(id -un)";
END
    touch "$apt/status"
    export APT_CONFIG=$apt/conf
    if ! { apt-get -qq update && apt-get -qq -y --no-install-recommends --download-only -t "$suite" install "$@"; } >"$apt/log" 2>&1; then
        grep '^E:' "$apt/log" || true
        echo "cannot tell: the mirror does not offer $* in $suite (Debian removes a version when it has a newer one)"
        exit 3
    fi
    unset APT_CONFIG
    for deb in "$apt"/cache/archives/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"; done
    rm -rf "$apt"
    echo "$suite: $*"
}

# enter ROOT COMMAND...: run a command in the tree below $dir/ROOT, with mounts of its own, for four minutes at most.
enter() {
    local root=$dir/$1 user=
    shift
    [ "$(id -u)" = 0 ] || user=--map-root-user
    # shellcheck disable=SC2016 # the inner shell expands them
    timeout --signal=KILL 240 unshare ${user:+"$user"} --mount --pid --fork --kill-child sh -c \
        'mount --rbind /dev "$0/dev"; mount --rbind /sys "$0/sys"; mount -t proc proc "$0/proc"; exec chroot "$0" "$@"' "$root" "$@"
}

# expect WHAT RECORDED SEEN: print what is seen, and note if it is not what was recorded.
expect() {
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "CHANGED, it was: $2"; changed=1; }
}

# saved ROOT: save a machine with networks "second" and "third", where "third" was added after "first" was removed.
saved() {
    {
        echo '{"execute": "qmp_capabilities"} {"execute": "netdev_del", "arguments": {"id": "first"}}'
        echo '{"execute": "netdev_add", "arguments": {"type": "user", "id": "third"}}'
        echo '{"execute": "migrate", "arguments": {"uri": "exec:busybox cat >/tmp/state"}}'
        sleep 5
        echo '{"execute": "query-migrate"} {"execute": "quit"}'
    } | enter "$1" qemu-system-x86_64 -S -display none -nodefaults -machine q35 -m 32 -qmp stdio \
        -netdev user,id=first -netdev user,id=second 2>/dev/null | grep -o '"status": "[a-z]*"' | tail -n 1
}

# loaded ROOT: load that state into a machine that starts with "second" and "third".
loaded() {
    {
        echo '{"execute": "qmp_capabilities"}'
        sleep 5
        echo '{"execute": "query-migrate"} {"execute": "quit"}'
    } | enter "$1" qemu-system-x86_64 -S -display none -nodefaults -machine q35 -m 32 -qmp stdio \
        -netdev user,id=second -netdev user,id=third -incoming 'exec:busybox cat /tmp/state' 2>&1 |
        grep -o '"status": "[a-z]*"\|Unknown .*instance .slirp. [0-9]*' | sed 's/ savevm//' | tail -n 1 || true
}

unpack bookworm 7.2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 busybox-static
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1 busybox-static
unpack "trixie trixie-backports" 11.1 qemu-system-x86=1:11.1.3+ds-1~bpo13+1 busybox-static
for version in 7.2 10.0 11.1; do
    ln -sf busybox "$dir/$version/usr/bin/sh" # exec: needs a shell
    expect "QEMU $version saves" '"status": "completed"' "$(saved $version)"
    outcome="Unknown section or instance 'slirp' 2"
    [ $version != 7.2 ] || outcome='"status": "completed"'
    expect "QEMU $version loads" "$outcome" "$(loaded $version)"
done

exit "$changed"
