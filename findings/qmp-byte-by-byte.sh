#!/bin/bash
# QEMU reads the commands to its monitor (QMP) one byte at a time: a system call, and a poll before it, for each byte.
#
# The guess: a command that comes in one piece is read in one piece, as QEMU's own answers are written; what a command costs is
# what it does.
# The fact: 7.2, 10.0 and 11.1 ask the kernel for one byte, whatever is there.
# Why it matters: libvirt 11.3 asks for 397 properties of an x86 CPU of QEMU 7.2 at each start, a command of about 100 bytes
# each. On a machine of 2026 that is 0.3 s of a processor, three quarters of all that a start takes, and in a profile it is in
# a thread ("IO mon_iothread") that has nothing to do. Short ids and paths make a client faster.

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

unpack bookworm 7.2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 strace
unpack trixie 10.0 qemu-system-x86=1:10.0.13+ds-0+deb13u1 strace
unpack "trixie trixie-backports" 11.1 qemu-system-x86=1:11.1.3+ds-1~bpo13+1 strace
printf '%s\n' '{"execute": "qmp_capabilities"}' '{"execute": "query-status"}' '{"execute": "quit"}' >"$dir/commands"
bytes=$(wc -c <"$dir/commands")
for version in 7.2 10.0 11.1; do
    # shellcheck disable=SC2094 # the tree's own trace
    enter $version strace -f -qq -e trace=readv -o /tmp/trace qemu-system-x86_64 -machine none -nodefaults -display none \
        -qmp stdio <"$dir/commands" >"$dir/answers"
    expect "QEMU $version: readings of $bytes bytes" "80, each of at most 1" \
        "$(grep -c ' readv(0, .*) = 1$' "$dir/$version/tmp/trace"), each of at most $(sed -n 's/.* readv(0, .*iov_len=\([0-9]*\).*/\1/p' "$dir/$version/tmp/trace" | sort -nu | tail -n 1)"
done

exit "$changed"
