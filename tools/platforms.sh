#!/bin/bash
# platforms.sh: fetch what the stage "platforms" runs, in build/platforms: Nova, Ansible and kcli from PyPI, pinned by
# tools/requirements-*.txt; unpacked Debian packages: forky's virt-install, vagrant-libvirt, and the Go library for
# libvirt's XML, without and with docs/libvirt-go-xml.patch. Needs "make build"; Go and Ruby are installed.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
dir=$top/build/platforms

# shellcheck source=tools/lib.sh
. tools/lib.sh

[ -e build/venv/libvirt-api ] || die "there is no finished build: run 'make build'"
tools/deps.sh golang-go jq ruby xsltproc
mkdir -p "$dir"

# environment NAME REQUIREMENTS: a venv with these packages and build/venv's libvirt-python.
environment() {
    if ! cmp -s "$2" "$dir/$1/requirements.txt"; then
        step "PyPI: $(grep -c == "$2") packages for $1"
        rm -rf "${dir:?}/$1"
        build/venv/bin/python -m venv "$dir/$1"
        "$dir/$1/bin/pip" install -qq --disable-pip-version-check --no-deps --no-compile -r "$2" || die "pip failed: see above, and try again"
        cp "$2" "$dir/$1/requirements.txt"
    fi
    # libvirt-python is built against the patched library, and may have been again.
    ln -sf "$top"/build/venv/lib/python3*/site-packages/libvirt*.{py,so} "$dir/$1"/lib/python3*/site-packages/
}
environment nova tools/requirements-nova.txt
environment venv tools/requirements-platforms.txt
ln -sf "$top/docs/platforms/nova/libvirt_hotplug.py" "$dir"/nova/lib/python3*/site-packages/nova/virt/

# unpack SUITE PACKAGE NAME: what Debian serves today; its version is in the file NAME/version.
unpack() {
    [ ! -e "$dir/$3/version" ] || return 0
    step "Debian $1: $2"
    rm -rf "${dir:?}/$3"
    mkdir -p "$dir/$3/deb"
    (cd "$dir/$3/deb" && APT_CONFIG=$(cd "$top" && tools/apt-private.sh deb "$1") apt-get -q download "$2") >"$dir/$3.log" 2>&1 ||
        die "it cannot be fetched: see $dir/$3.log"
    dpkg -x "$dir/$3"/deb/*.deb "$dir/$3"
    dpkg-deb -f "$dir/$3"/deb/*.deb Version >"$dir/$3/version"
}
unpack forky virt-install virt-install
unpack bookworm vagrant-libvirt vagrant
unpack forky golang-github-libvirt-libvirt-go-xml-dev go

# Apart from the rest of its venv, whose python3 is not the tool's.
mkdir -p "$dir/kcli"
ln -sf "$dir/venv/bin/kcli" "$dir/kcli/"

# virt-install's programs look for their modules where an installed one has them.
mkdir -p "$dir/bin"
for program in virt-install:virtinstall virt-xml:virtxml virt-clone:virtclone; do
    cat >"$dir/bin/${program%:*}" <<END
#!/usr/bin/python3
import sys

sys.path.insert(0, "$dir/virt-install/usr/share/virt-manager")
from virtinst import ${program#*:}

${program#*:}.runcli()
END
    chmod +x "$dir/bin/${program%:*}"
done

# The Go library as it is and with the patch, each with the program that reads XML and writes it again.
patch=docs/libvirt-go-xml.patch
source=$(dirname "$(find "$dir/go/usr" -name domain_capabilities.go)")
for kind in stock patched; do
    work=$dir/go/$kind
    rm -rf "$work"
    mkdir -p "$work/src/libvirtxml"
    cp "$source"/*.go "$work/src/libvirtxml/"
    rm "$work"/src/libvirtxml/*_test.go
    # That git does not take it for a part of this repository.
    if [ $kind = patched ] && ! (cd "$work/src/libvirtxml" && GIT_CEILING_DIRECTORIES=$work/src \
        git apply --ignore-whitespace --reject "$top/$patch") >"$work/patch.log" 2>&1; then
        # 7.4.0 has neither; anything else that does not fit is an error.
        unknown=$(sed -n 's/^ type \(.*\) struct {$/\1/p' "$work"/src/libvirtxml/*.rej | sort | xargs)
        [ "$unknown" = "DomainCrypto DomainPStore" ] || die "$patch does not fit: see $work/patch.log and $work/src"
    fi
    GO111MODULE=off GOPATH=$work GOCACHE=$dir/go/cache go build -o "$work/roundtrip" integration/platforms/roundtrip.go ||
        die "the Go library does not compile: see above"
done
step "Ready: $(cat "$dir"/{virt-install,vagrant,go}/version | xargs)"
