#!/bin/bash
# test-other-libvirt.sh: what docs/hosts.md says of a libvirt without the series, with the one that Debian 13's backports
# serve. Guests that the packages of make deb leave are found by it, and come back: tools/other_libvirt.py, in a Debian 13
# of which build/check/other-libvirt.xml is left. Takes root, and 4 GB of memory.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
here=$top/build/other-libvirt

# shellcheck source=tools/lib.sh
. tools/lib.sh

in_view() {
    tools/view.sh "$1" "$top" env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$top/tools/test-other-libvirt.sh" "${@:2}"
}

# There is no systemd here. This does to the daemon what it would.
systemctl_here() {
    cat <<'END'
#!/bin/sh
set -eu
case $1 in stop | try-restart | start) ;; *) echo "systemctl $1: not here" >&2; exit 1 ;; esac
if [ "$1" != start ] && pid=$(cat /run/libvirtd.pid 2>/dev/null) && kill "$pid"; then
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
fi
[ "$1" = stop ] || LIBVIRT_LOG_OUTPUTS=3:file:/var/log/libvirtd.log libvirtd --daemon --pid-file /run/libvirtd.pid
END
}

# A Debian 13 host with Debian's libvirt, and the daemon's confinement as in ./run.
host() {
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    systemctl_here >/usr/local/bin/systemctl
    # The real one takes limits away from the daemon, which systemd would not.
    printf '#!/bin/sh\nexec "$@"\n' >/usr/local/bin/sudo
    chmod +x /usr/sbin/policy-rc.d /usr/local/bin/{systemctl,sudo}
    # An administrator answers yes, and keeps configuration files.
    printf 'APT::Get::Assume-Yes "true";\nDpkg::Options { "--force-confold"; };\n' >/etc/apt/apt.conf.d/answers
    cp "$here/backports.list" /etc/apt/sources.list.d/
    apt-get -q update
    apt-get -q --no-install-recommends install libvirt-daemon-system libvirt-clients libvirt-clients-qemu \
        qemu-system-x86 qemu-utils python3-pytest
    printf 'namespaces = [ ]\ncgroup_controllers = [ ]\nsecurity_driver = "none"\n' >>/etc/libvirt/qemu.conf
    virtlogd --daemon --pid-file /run/virtlogd.pid
    systemctl start libvirtd
}

# A second host beside the first, whose files it begins with: the other libvirt, to migrate to.
peer() {
    rm -rf /var/lib/libvirt/qemu/* /etc/libvirt/qemu/*.xml
    apt-mark showhold | xargs apt-mark unhold
    apt-get -q -t trixie-backports install libvirt-daemon-system
    printf 'unix_sock_dir = "%s"\nhost_uuid = "%s"\n' "$here/peer" "$(cat /proc/sys/kernel/random/uuid)" \
        >>/etc/libvirt/libvirtd.conf
    rm -f /run/virtlogd.pid
    virtlogd --daemon --pid-file /run/virtlogd.pid
    systemctl start libvirtd
    sleep infinity
}

# This shell is process 1 there: it waits for QEMUs that have no parent left, as init does.
case ${1:-} in
inside)
    host
    python3 -m pytest -c /dev/null --rootdir tools -p no:cacheprovider -v -ra --junitxml=build/check/other-libvirt.xml \
        tools/other_libvirt.py "${@:2}"
    exit
    ;;
peer)
    peer
    exit
    ;;
esac

[ "$(id -u)" = 0 ] || die "making a view needs root"
tools/deb.sh --if-missing
tools/debian.sh trixie build/newcomer/trixie minbase
mkdir -p "$here" build/check
cp "$(dirname "$(tools/apt-private.sh deb trixie-backports)")/sources.list" "$here/backports.list"
rm -f build/check/other-libvirt.xml
code=0
in_view build/newcomer/trixie inside "$@" || code=$?
step "Versions of this run"
sed -n 's/<property name="\([^"]*\)" value="\([^"]*\)"/\n  \1: \2\n/gp' build/check/other-libvirt.xml | grep '^  '
exit $code
