#!/bin/bash
# deb.sh: build Debian 13's libvirt packages with the series on top, as build/deb/*.deb.
# The source is Debian's own: release tarball, packaging and security fixes; the series is added to its patches.
# libvirt's suite runs in the build, as Debian's packaging has it. It is built in a chroot, build/deb/trixie, so the
# machine needs no Debian 13 and gets no build dependency; that takes root, debootstrap and 4 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
deb=$top/build/deb
root=$deb/trixie

# shellcheck source=tools/lib.sh
. tools/lib.sh

# With --if-missing packages of this very series are taken as they are.
of=$(cat patches/*.patch tools/deb.sh | sha256sum)
if [ "${1:-}" = --if-missing ] && [ "$(cat "$deb/of" 2>/dev/null)" = "$of" ]; then exit 0; fi

[ "$(id -u)" = 0 ] || die "making a chroot needs root: sudo make deb"
PATH=$PATH:/usr/sbin
tools/deps.sh quilt
mkdir -p "$deb"

step "Debian's source package of libvirt"
tarball=$(tools/fetch.sh)
conf=$(tools/apt-private.sh deb-src trixie trixie-security)
rm -rf "$deb/fetch" "$deb/source"
mkdir -p "$deb/fetch" "$deb/source"
(cd "$deb/fetch" && APT_CONFIG=$conf apt-get -q source --download-only --diff-only libvirt) >"$deb/fetch.log" 2>&1 ||
    die "it cannot be fetched: see $deb/fetch.log"
packaging=$(echo "$deb"/fetch/libvirt_*.debian.tar.xz)
package=${packaging##*/libvirt_} package=${package%.debian.tar.xz}
[[ $package == "$version"-* ]] || die "Debian 13 has libvirt $package now: the series is for $version"
source=$deb/source/libvirt-$version
tar -C "$deb/source" -xf "$tarball"
tar -C "$source" -xf "$packaging"
cp "$tarball" "$deb/source/libvirt_$version.orig.tar.xz"

# Debian's security fixes change lines near the series': it is applied with fuzz, which dpkg-source does not do, and what
# then fits exactly is written back.
quilt() { (cd "$source" && QUILT_PATCHES=debian/patches command quilt "$@") >>"$deb/quilt.log" 2>&1 ||
    die "the series does not fit on $package: see build/deb/quilt.log"; }
: >"$deb/quilt.log"
quilt push -a
mkdir "$source/debian/patches/hotplug"
for patch in patches/*.patch; do
    name=${patch##*/}
    [[ $name == 0000-* ]] && continue
    cp "$patch" "$source/debian/patches/hotplug/"
    echo "hotplug/$name" >>"$source/debian/patches/series"
    quilt push --fuzz=2
    quilt refresh
done
quilt pop -a
rm -r "$source/.pc"
# The tool's package is the one of upstream's other Python tools: it depends on python3-libvirt and python3-lxml.
for list in "$source"/debian/libvirt-clients-qemu.install{,.in}; do
    printf '%s\n' usr/bin/virt-pci-hotplug usr/share/man/man1/virt-pci-hotplug.1 >>"$list"
done
# Newer than Debian's, older than Debian's next: a security update replaces it.
{
    printf 'libvirt (%s+hotplug1) trixie; urgency=medium\n\n' "$package"
    printf '  * Add the settings that keep PCI devices from being unplugged: patches/hotplug\n\n'
    printf ' -- %s  %s\n\n' "$(git log -1 --format='%an <%ae>')" "$(date -R)"
    cat "$source/debian/changelog"
} >"$deb/changelog"
mv "$deb/changelog" "$source/debian/changelog"

tools/debian.sh trixie "$root" buildd

# Mounts and processes of the chroot end with this command.
inside() {
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount --pid --fork bash -c '
        set -e
        root=$1; shift
        mount --make-rprivate /
        mount --rbind /dev "$root/dev"
        mount -t proc proc "$root/proc"
        mkdir -p "$root/build"
        mount --bind "$root/../source" "$root/build"
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive "$@"' inside "$root" "$@"
}

step "Build dependencies (log: build/deb/build-dep.log)"
inside sh -c "apt-get -q update && cd /build/libvirt-$version && apt-get -qy --no-install-recommends build-dep ./" \
    >"$deb/build-dep.log" 2>&1 || die "see build/deb/build-dep.log"
step "Building $package+hotplug1 and running libvirt's suite (log: build/deb/build.log)"
inside sh -c "cd /build/libvirt-$version && dpkg-buildpackage -b -uc -us" >"$deb/build.log" 2>&1 ||
    die "see build/deb/build.log"
rm -f "$deb"/*.deb "$deb/of"
mv "$deb"/source/*.deb "$deb/"
grep -E '^(Ok|Expected Fail|Fail|Skipped|Timeout): ' "$deb/build.log" ||
    die "the suite did not run: see build/deb/build.log"
step "$(find "$deb" -maxdepth 1 -name '*.deb' | wc -l) packages in build/deb"

# A copy-on-write view of the chroot, where they replace Debian's, and are replaced by them, with the commands of
# docs/hosts.md; nothing of it is left.
step "Installing them in a Debian 13, and starting a guest there (log: build/deb/install.log)"
cat >"$deb/try.sh" <<'TRY'
set -eux
# apt must not start services here.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
apt-get -qy --no-install-recommends install libvirt-daemon-system libvirt-clients libvirt-clients-qemu qemu-system-x86
dpkg-query -W libvirt-daemon-system
apt-get -qy install $(dpkg-query -W -f '${db:Status-Abbrev} ./build/deb/${Package}_*.deb\n' 'libvirt*' | sed -n 's/^ii *//p')
apt-mark hold $(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'libvirt*' | sed -n 's/^ii *//p')
dpkg-query -W libvirt-daemon-system qemu-system-x86
tools/smoke.sh /usr/sbin/libvirtd virsh /usr/bin/virt-pci-hotplug
# Back, as docs/hosts.md tells.
apt-mark unhold $(apt-mark showhold | grep libvirt)
apt-get -qy --allow-downgrades install $(
    dpkg-query -W -f '${db:Status-Abbrev} ${Package}=${Version}\n' 'libvirt*' | sed -n 's/^ii *\(.*\)+hotplug1$/\1/p')
dpkg-query -W libvirt-daemon-system
[ -e /etc/libvirt/qemu/smoke.xml ]
TRY
tools/view.sh "$root" "$top" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive sh -c "cd '$top' && exec bash build/deb/try.sh" >"$deb/install.log" 2>&1 ||
    die "see build/deb/install.log"
echo "$of" >"$deb/of"
step "Installed, used, and replaced by Debian's again"
