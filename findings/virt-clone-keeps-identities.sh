#!/bin/bash
# virt-clone gives the copy the original's generation ID, vsock address and agent socket.
#
# The guess: virt-clone makes what has to be unique anew; and the element <genid>, which is there to tell a guest that it was
# copied, first of all.
# The fact: it makes a UUID and MAC addresses, appends "-clone" to the file of a serial port, and lets libvirt choose the VNC
# port. A <genid> with a value, a fixed <cid> of a vsock device and the socket path of a guest agent's channel are copied as they
# are, without a warning.
# Why it matters: a domain controller or database in the copy does not find out that it is one, and goes on with identifiers that
# are in use. With the same CID the copy cannot be started beside the original, and with the same socket path it takes the
# original's agent away from those who connect to it.

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

unpack trixie clone virtinst=1:5.0.0-5+deb13u1 busybox-static
# Python's requests loads certificates, though none is needed here.
mkdir -p "$dir/clone/etc/ssl/certs"
cat "$dir"/clone/usr/share/ca-certificates/mozilla/*.crt >"$dir/clone/etc/ssl/certs/ca-certificates.crt"
cat >"$dir/clone/tmp/original.xml" <<'END'
<domain type="test"><name>original</name><genid>6ba7b810-9dad-41d1-80b4-00c04fd430c8</genid><memory unit="MiB">64</memory>
<uuid>00000000-0000-4000-8000-000000000001</uuid><os><type arch="x86_64" machine="q35">hvm</type></os><devices>
<interface type="user"><mac address="52:54:00:00:00:01"/><model type="virtio"/></interface>
<vsock model="virtio"><cid auto="no" address="77"/></vsock>
<serial type="file"><source path="/tmp/serial"/></serial>
<channel type="unix"><source mode="bind" path="/tmp/agent"/><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
<graphics type="vnc" port="5977" autoport="no"/></devices></domain>
END
LC_ALL=C.UTF-8 enter clone python3 /usr/bin/virt-clone --connect test:///default --original-xml /tmp/original.xml \
    --name copy --auto-clone --print-xml >"$dir/copy.xml"
python3 - "$dir/clone/tmp/original.xml" "$dir/copy.xml" >"$dir/seen" <<'END'
import sys, xml.etree.ElementTree as tree
original, copy = (tree.parse(name).getroot() for name in sys.argv[1:])
def value(domain, path):
    element, _, attribute = path.partition("@")
    return domain.find(element).get(attribute) if attribute else domain.findtext(element)
for name, path in {"uuid": "uuid", "MAC": "devices/interface/mac@address", "serial": "devices/serial/source@path",
                   "VNC": "devices/graphics@port", "genid": "genid", "CID": "devices/vsock/cid@address",
                   "agent": "devices/channel/source@path"}.items():
    print(name, "same" if value(original, path) == value(copy, path) else "new")
END
expect "unique in the copy" "uuid MAC serial VNC" "$(sed -n 's/ new$//p' "$dir/seen" | xargs)"
expect "copied" "genid CID agent" "$(sed -n 's/ same$//p' "$dir/seen" | xargs)"

exit "$changed"
