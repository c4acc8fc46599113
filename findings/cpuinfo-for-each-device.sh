#!/bin/bash
# libvirt reads /proc/cpuinfo once more for each device of a domain that is defined.
#
# The guess: what QEMU and the host's processor can do is found out when the daemon starts, and cached: libvirt keeps it below
# /var/cache/libvirt/qemu/capabilities.
# The fact: whoever asks that cache first reads the microcode's version from /proc/cpuinfo, in case it was updated since, and the
# checks of a definition ask it for each device. With 24 devices more, each behind a port, which is a device as well, a
# definition reads the file 48 times more, in 11.3 and in 12.9.
# Why it matters: the kernel writes that text anew for each read. In a profile of a daemon that defined domains all the time this
# was a quarter of its time, and no function that deals with a device shows it.

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

# libvirt ROOT: run the commands of standard input beside the libvirtd of that tree, with "virsh" and XML files below /tmp.
libvirt() {
    local root=$dir/$1
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
    } | enter "$1" busybox sh
}

unpack trixie libvirt11 libvirt-daemon=11.3.0-3+deb13u3 libvirt-daemon-driver-qemu=11.3.0-3+deb13u3 libvirt-clients=11.3.0-3+deb13u3 \
    qemu-system-x86=1:10.0.13+ds-0+deb13u1 busybox-static strace
unpack "trixie trixie-backports" libvirt12 libvirt-daemon=12.9.0-1~bpo13+1 libvirt-daemon-driver-qemu=12.9.0-1~bpo13+1 libvirt-clients=12.9.0-1~bpo13+1 \
    qemu-system-x86=1:11.1.3+ds-1~bpo13+1 busybox-static strace
for root in libvirt11 libvirt12; do
    libvirt $root >"$dir/seen" 2>&1 <<'END'
virsh version | busybox grep '^Using API'
strace -f -qq -e trace=openat -o /tmp/trace -p "$(busybox pidof libvirtd)" &
until busybox grep -q '^TracerPid:.*[1-9]' "/proc/$(busybox pidof libvirtd)/status"; do busybox sleep 0.1; done
# defined COUNT: define a domain with COUNT devices of one kind, and say how often /proc/cpuinfo was opened for it.
defined() {
    devices=$(busybox yes '<rng model="virtio"><backend model="random">/dev/urandom</backend></rng>' | busybox head -n "$1")
    echo "<domain type='qemu'><name>guest</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
    <devices><memballoon model='none'/>$devices</devices></domain>" >/tmp/guest.xml
    before=$(busybox grep -c '"/proc/cpuinfo"' /tmp/trace)
    virsh -q define /tmp/guest.xml
    virsh -q undefine guest
    opened=$(($(busybox grep -c '"/proc/cpuinfo"' /tmp/trace) - before))
}
defined 4; few=$opened
defined 28
echo "for each of 24 devices and its port: $(((opened - few) / 24)), and $(((opened - few) % 24)) more"
busybox killall -KILL strace
END
    cat "$dir/seen"
    expect "reads of /proc/cpuinfo in $root" "for each of 24 devices and its port: 2, and 0 more" "$(grep '^for each' "$dir/seen")"
done

exit "$changed"
