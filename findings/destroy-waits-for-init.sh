#!/bin/bash
# virsh destroy fails for a guest whose QEMU has ended, where process 1 does not reap.
#
# The guess: destroy sends SIGTERM and then SIGKILL, and nothing survives SIGKILL. Once QEMU has ended the guest is off.
# The fact: libvirt puts QEMU into the background, so its parent is process 1, and waits until kill(pid, 0) no longer finds it. If
# process 1 never reaps, QEMU has ended in a moment and stays as a zombie, which kill(pid, 0) finds. destroy then fails after 40
# seconds with "Failed to terminate process N with SIGKILL: Device or resource busy".
# Why it matters: a container whose first process is "sleep" has no reaper, and the error reads like a QEMU that is stuck in the
# kernel, on a disk for instance. A small init as the container's first process is the cure.
# How: the same commands run twice, each time in a process namespace of their own. Process 1 is dumb-init, which reaps, with
# "busybox cat" as its child, which waits for a line at the end, and then that "busybox cat" alone.

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

# libvirt ROOT INIT...: run the commands of standard input beside the libvirtd of that tree, with "virsh" and XML files below /tmp.
# Process 1 is INIT with "busybox cat" behind it, or that alone.
libvirt() {
    local root=$dir/$1
    rm -rf "$root"/{run,etc/libvirt/qemu,tmp/end}
    mkdir -p "$root"/{run,etc/libvirt,var/lib/libvirt,var/log/libvirt,var/cache}
    [ -L "$root/var/run" ] || { rm -rf "$root/var/run"; ln -s ../run "$root/var/run"; }
    printf '%s:x:0:0::/:/bin/sh\n' root libvirt-qemu >"$root/etc/passwd"
    printf '%s:x:0:\n' root libvirt-qemu kvm >"$root/etc/group"
    printf '%s\n' 'user = "+0"' 'group = "+0"' 'security_driver = "none"' 'cgroup_controllers = []' 'namespaces = []' \
        'stdio_handler = "file"' 'remember_owner = 0' >"$root/etc/libvirt/qemu.conf"
    printf '%s\n' 'unix_sock_group = "root"' 'auth_unix_rw = "none"' 'host_uuid = "00000000-0000-4000-8000-000000000001"' >"$root/etc/libvirt/libvirtd.conf"
    {
        # The daemon answers when it has asked QEMU for its capabilities.
        echo 'export LC_ALL=C; libvirtd -d; until virsh version >/dev/null 2>&1; do busybox sleep 0.2; done'
        cat
    } >"$root/tmp/commands"
    mkfifo "$root/tmp/end"
    # The line in the pipe ends process 1, and the kernel ends all other processes of the namespace with it.
    # shellcheck disable=SC2016 # the inner shell expands them
    enter "$1" busybox sh -c '{ busybox sh /tmp/commands; echo over >/tmp/end; } & exec "$@"' sh "${@:2}" busybox cat /tmp/end
}

unpack trixie libvirt11 libvirt-daemon=11.3.0-3+deb13u3 libvirt-daemon-driver-qemu=11.3.0-3+deb13u3 libvirt-clients=11.3.0-3+deb13u3 \
    qemu-system-x86=1:10.0.13+ds-0+deb13u1 busybox-static dumb-init=1.2.5-3
cat >"$dir/commands" <<'END2'
cat >/tmp/guest.xml <<'XML'
<domain type="qemu"><name>guest</name><memory unit="MiB">64</memory><os><type arch="x86_64" machine="q35">hvm</type></os></domain>
XML
seen() { # WHAT: the lines of standard input in one
    echo "$1: $(busybox sed '/^$/d; s/^error: //; s/process [0-9]*/process N/' | busybox tr '\n' ';' | busybox sed 's/;$//; s/;/; /g')"
}
virsh version
virsh -q define /tmp/guest.xml
virsh -q start guest --paused
pid=$(cat /run/libvirt/qemu/guest.pid)
busybox sed -n 's/^PPid:\t*/parent: /p' "/proc/$pid/status"
start=$(busybox date +%s)
{
    virsh destroy guest 2>&1
    [ $(($(busybox date +%s) - start)) -lt 30 ] && echo "in less than 30 seconds" || echo "in 30 seconds or more"
} | seen destroy
{
    busybox sed -n 's/^State:\t*//p' "/proc/$pid/status" 2>/dev/null || echo "gone"
    kill -0 "$pid" 2>/dev/null && echo "kill -0 finds it" || echo "kill -0 does not find it"
} | seen QEMU
END2
# This comes first: without a reaper libvirtd also waits for the QEMU that it asks for its capabilities, and they are kept in a cache.
libvirt libvirt11 dumb-init <"$dir/commands" >"$dir/seen" 2>&1
grep '^Using API\|^Running hypervisor' "$dir/seen"
for line in "parent: 1" "destroy: Domain 'guest' destroyed; in less than 30 seconds" "QEMU: gone; kill -0 does not find it"; do
    expect "process 1 reaps" "$line" "$(grep "^${line%%:*}:" "$dir/seen")"
done
libvirt libvirt11 <"$dir/commands" >"$dir/seen" 2>&1
for line in "parent: 1" \
    "destroy: Failed to destroy domain 'guest'; Failed to terminate process N with SIGKILL: Device or resource busy; in 30 seconds or more" \
    "QEMU: Z (zombie); kill -0 finds it"; do
    expect "process 1 does not reap" "$line" "$(grep "^${line%%:*}:" "$dir/seen")"
done

exit "$changed"
